"""Embeddings to begin with, from which ids stand beside each other in train.

A model that reads less than a token for each weight of its token table learns little of the rare
ids; counting them takes seconds. The factors of the positive pointwise mutual information of
neighbours are word vectors as good as learnt ones (Levy and Goldberg 2014), here with the
neighbour's frequency to the power 3/4 and the root of the singular values (Levy, Goldberg and
Dagan 2015). Dimensions in which an id is unlike itself (left is minus right) are dropped: table
and head are one matrix.
"""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

if TYPE_CHECKING:
    from scipy import sparse

REACH = 2  # ids between which a pair counts; the farther one half
SMOOTHED = 0.75


def embeddings(
    ids: npt.NDArray[np.int64], vocabulary: int, width: int, deviation: float, seed: int
) -> Tensor:
    """Rows for every id, float32 of shape (vocabulary, width), their standard deviation as given.

    `ids` (tokens,) are text in its order. Ids without a neighbour to tell them by get random rows,
    and the axes are turned at random, so that none is special.
    """
    from sklearn.utils.extmath import randomized_svd

    generator = torch.Generator().manual_seed(seed)
    table = deviation * torch.randn(vocabulary, width, generator=generator)
    likeness = association(ids, vocabulary)
    rank = min(width, vocabulary - 1)
    if not likeness.nnz:
        return table
    left, values, right = randomized_svd(likeness, rank, n_iter=4, random_state=seed)
    factors = torch.from_numpy((left + right.T) * np.sqrt(values)).float()
    norms = factors.norm(dim=1)
    known = norms > 1e-6 * norms.max()  # others are rounding errors
    factors *= deviation / factors[known].square().mean().sqrt()
    turned = torch.linalg.qr(torch.randn(width, width, generator=generator)).Q[:rank]
    table[known] = factors[known] @ turned * (width / rank) ** 0.5
    return table


def association(ids: npt.NDArray[np.int64], vocabulary: int) -> "sparse.csr_matrix":
    """Positive pointwise mutual information of ids at most `REACH` apart, in either order."""
    from scipy import sparse

    pairs = sparse.csr_matrix((vocabulary, vocabulary))
    for distance in range(1, REACH + 1):
        keys, counts = np.unique(ids[:-distance] * vocabulary + ids[distance:], return_counts=True)
        places = np.divmod(keys, vocabulary)
        pairs += sparse.csr_matrix((counts / distance, places), shape=pairs.shape)
    pairs = (pairs + pairs.T).tocoo()
    own = np.bincount(pairs.row, pairs.data, vocabulary)
    smooth = own**SMOOTHED / max(1.0, float((own**SMOOTHED).sum()))
    information = np.log(pairs.data / (own[pairs.row] * smooth[pairs.col]))
    kept = information > 0
    return sparse.csr_matrix(
        (information[kept], (pairs.row[kept], pairs.col[kept])), shape=pairs.shape
    )
