"""The classical baseline: an interpolated 5-gram with modified Kneser-Ney discounts.

Chen and Goodman 1999, equations 13 to 15, down to the uniform distribution over the vocabulary.
Raw counts at order 5, below the number of different tokens before (continuation counts).
Discounts come from counts of counts, order by order; where those give none, 0.5, 1 and 1.5 as in
KenLM (Heafield 2013). No context crosses a document's end: before a document stand separators. The
separator that ends one is a token to predict like any other.

An n-gram is a pair: the number of the n-gram without its last token, and that token. Each order
numbers its pairs by sorting, so there are no hashes and no collisions, and what a context is for
one order is an n-gram of the order below.
"""

import dataclasses
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

ORDER = 5
LIMIT = 20_000_000  # tokens; fitting takes 2 microseconds and 100 bytes of memory each
PIECE = 1 << 16  # tokens read in one place of a corpus that is larger than the limit
FALLBACK = (0.5, 1.0, 1.5)

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class Tokens(Protocol):
    """What is needed of `domainlm.tokens.shards.Shards`."""

    @property
    def separator(self) -> int: ...  # noqa: D102
    @property
    def vocabulary(self) -> int: ...  # noqa: D102
    @property
    def total(self) -> int: ...  # noqa: D102
    def window(self, start: int, length: int) -> Ints: ...  # noqa: D102


@dataclasses.dataclass(frozen=True)
class Order:
    """The n-grams of one order. Contexts are numbers of n-grams of the order below.

    `keys` are context x vocabulary + token, sorted. The last entry of `totals` and of `backoff` is
    that of a context never seen, whose number is -1: it leaves all to the order below.
    """

    keys: Ints  # (n-grams,)
    counts: npt.NDArray[np.int32]  # (n-grams,); 0 for separators that only stand before documents
    discounts: Floats  # (4,): of counts 0, 1, 2, and 3 or more
    totals: Floats  # (contexts + 1,): sum of the counts of what follows, at least 1
    backoff: Floats  # (contexts + 1,): probability left to the order below


@dataclasses.dataclass(frozen=True)
class Ngram:
    """A fitted model: its orders from 1 up."""

    orders: tuple[Order, ...]
    separator: int
    vocabulary: int

    def nats(self, ids: npt.ArrayLike) -> Floats:
        """-ln p of each token given the four before; the text begins a document.

        `ids`: integers of shape (tokens,); the result has the same shape and is finite. A separator
        in `ids` ends the document there. Raises ValueError for an id outside the vocabulary.
        """
        tokens = np.concatenate([[self.separator], np.asarray(ids, np.int64)])
        if tokens.min() < 0 or tokens.max() >= self.vocabulary:
            raise ValueError(f"an id is not in the vocabulary of {self.vocabulary} tokens")
        found = np.zeros_like(tokens)
        p = np.full(len(tokens), 1 / self.vocabulary)
        for order in self.orders:
            context = _context(found, tokens, self.separator)
            keys = context * self.vocabulary + tokens
            place = np.minimum(np.searchsorted(order.keys, keys), len(order.keys) - 1)
            found = np.where(order.keys[place] == keys, place, -1)
            counts = np.where(found < 0, 0, order.counts[place])
            own = counts - order.discounts[np.minimum(counts, 3)]
            p = own / order.totals[context] + order.backoff[context] * p
        nats: Floats = -np.log(p[1:])
        return nats


def fit(shards: Tokens) -> Ngram:
    """Fit to the tokens of `shards`, at most `LIMIT` of them.

    Of a larger corpus it reads pieces of 65,536 tokens at even distances, each as a document.
    """
    tokens = _read(shards, LIMIT)
    vocabulary = shards.vocabulary
    numbers = np.zeros_like(tokens)  # of the n-gram that ends here; order 0 has one, the empty
    keys, contexts = np.zeros(0, np.int64), 1
    orders = []
    for n in range(1, ORDER + 1):
        context = _context(numbers, tokens, shards.separator)
        longer, first, inverse = np.unique(
            context * vocabulary + tokens, return_index=True, return_inverse=True
        )
        raw = np.bincount(inverse[1:], minlength=len(longer))  # without the separator at 0
        if n > 1:  # each different n-gram counts once for the one without its first token
            counts = np.bincount(numbers[first[raw > 0]], minlength=len(keys))
            orders.append(_order(keys, counts, vocabulary, contexts))
            contexts = len(keys)
        keys, numbers = longer, inverse
    orders.append(_order(keys, raw, vocabulary, contexts))
    return Ngram(tuple(orders), shards.separator, vocabulary)


def _read(shards: Tokens, limit: int) -> Ints:
    """A separator, then the tokens to fit to; a separator before each piece."""
    size = max(0, min(PIECE, limit, shards.total))
    starts = np.linspace(0, shards.total - size, max(1, limit // PIECE)).astype(np.int64)
    if shards.total <= limit:
        size, starts = shards.total, starts[:1]
    before = np.array([shards.separator])
    return np.concatenate([p for s in starts for p in (before, shards.window(int(s), size))])


def _context(numbers: Ints, tokens: Ints, separator: int) -> Ints:
    """The number of the n-gram that ends before each token, shape (tokens,).

    Position 0 holds a separator that nothing precedes: its number is that of separators alone,
    which is also the context of the first token of every document.
    """
    context = np.roll(numbers, 1)
    context[np.roll(tokens == separator, 1)] = numbers[0]
    context[0] = numbers[0]
    return context


def _order(keys: Ints, counts: Ints, vocabulary: int, contexts: int) -> Order:
    discounts = _discounts(counts)
    context = keys // vocabulary
    taken = discounts[np.minimum(counts, 3)]
    totals = np.bincount(context, counts, contexts)
    followed = totals > 0
    totals = np.where(followed, totals, 1.0)
    backoff = np.where(followed, np.bincount(context, taken, contexts) / totals, 1.0)
    ends = np.append(totals, 1.0), np.append(backoff, 1.0)
    return Order(keys, counts.astype(np.int32), discounts, *ends)


def _discounts(counts: npt.NDArray[Any]) -> Floats:
    """Discounts of counts 0, 1, 2 and 3 or more (Chen and Goodman 1999, equation 17)."""
    of = np.bincount(np.minimum(counts, 5), minlength=6).astype(float)  # counts of counts
    if of[1:5].all():
        y = of[1] / (of[1] + 2 * of[2])
        found = tuple(n - (n + 1) * y * of[n + 1] / of[n] for n in (1, 2, 3))
        if min(found) > 0:
            return np.array([0.0, *found])
    return np.array([0.0, *FALLBACK])
