"""Embeddings to begin with, from which ids stand beside each other in train.

A model that reads less than a token for each weight of its token table learns little of the rare
ids; counting them takes seconds. The factors of the positive pointwise mutual information of
neighbours are word vectors as good as learnt ones (Levy and Goldberg 2014), here with frequencies
smoothed by the power 3/4 and the root of the eigenvalues (Levy, Goldberg and Dagan 2015). Table
and head are one matrix, so what is wanted is its product with itself: negative eigenvalues, of ids
that are unlike themselves, are left out.
"""

import warnings

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

REACH = 2  # ids between which a pair counts; the farther one half
SMOOTHED = 0.75
MORE, ROUNDS = 8, 4  # dimensions and products more than asked for (Halko et al. 2011)


def embeddings(
    ids: npt.NDArray[np.int64], vocabulary: int, width: int, deviation: float, seed: int
) -> Tensor:
    """Rows for every id, float32 of shape (vocabulary, width), their standard deviation as given.

    `ids` (tokens,) are text in its order. Ids without a neighbour to tell them by get random rows.
    The axes are turned at random, so that none is special (`induction` turns them back).
    """
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    table = deviation * random(vocabulary, width)
    with warnings.catch_warnings():  # torch calls CSR a beta; products of COO are five times slower
        warnings.simplefilter("ignore")
        likeness = association(ids, vocabulary).to_sparse_csr()
    if not likeness.values().numel():
        return table
    basis = random(vocabulary, min(width + MORE, vocabulary))
    for _ in range(ROUNDS):
        basis = torch.linalg.qr(likeness @ basis).Q
    values, vectors = torch.linalg.eigh(basis.T @ (likeness @ basis))  # smallest first
    factors = basis @ vectors * values.clamp(min=0).sqrt()
    factors = factors[:, -width:]
    norms = factors.norm(dim=1)
    known = norms > 1e-6 * norms.max()  # others are rounding errors
    if not known.any():
        return table
    turned = torch.linalg.qr(random(width, width)).Q[: factors.size(1)]
    rows = factors[known] @ turned
    table[known] = rows * (deviation / rows.square().mean().sqrt())
    return table


def association(ids: npt.NDArray[np.int64], vocabulary: int) -> Tensor:
    """Positive pointwise mutual information of ids at most `REACH` apart, in either order.

    Sparse, symmetric, float32 of shape (vocabulary, vocabulary).
    """
    keys, weights = [np.zeros(0, np.int64)], [np.zeros(0)]
    for distance in range(1, REACH + 1):
        pairs, counts = np.unique(ids[:-distance] * vocabulary + ids[distance:], return_counts=True)
        before, after = np.divmod(pairs, vocabulary)
        keys += [pairs, after * vocabulary + before]
        weights += [counts / distance] * 2
    pairs, inverse = np.unique(np.concatenate(keys), return_inverse=True)
    weight = np.bincount(inverse, np.concatenate(weights), len(pairs))
    rows, columns = np.divmod(pairs, vocabulary)
    own = np.bincount(rows, weight, vocabulary)
    share = own / max(1e-300, own.sum())
    smooth = share**SMOOTHED / max(1e-300, (share**SMOOTHED).sum())
    with np.errstate(divide="ignore"):
        expected = (np.log(share) + np.log(smooth)) / 2
    information = np.log(weight / max(1e-300, own.sum())) - expected[rows] - expected[columns]
    kept = information > 0
    return torch.sparse_coo_tensor(
        torch.from_numpy(np.stack([rows[kept], columns[kept]])),
        torch.from_numpy(information[kept].astype(np.float32)),
        (vocabulary, vocabulary),
        is_coalesced=True,
        check_invariants=False,
    )
