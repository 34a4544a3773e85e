"""What a loss is spent on: words, numbers, punctuation or space.

Tokenizers cut differently, so a token's nats are spread evenly over its bytes, and bytes belong to
a kind by the text alone (as in marin's perplexity gap): the same bytes for every model.
"""

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from domainlm.errors import DomainLMError

KINDS = ("word", "number", "punctuation", "space")
_PIECE = re.compile(r"(?P<word>[^\W\d_]+)|(?P<number>\d+(?:[.,]\d+)*)|(?P<space>\s+)|[^\w\s]+|_+")


def kinds(text: str) -> npt.NDArray[np.int8]:
    """The kind of each UTF-8 byte of `text`, as an index of `KINDS`, shape (bytes,)."""
    found = [
        (KINDS.index(match.lastgroup or "punctuation"), len(match.group().encode()))
        for match in _PIECE.finditer(text)
    ]
    which, sizes = np.array(found, np.int64).reshape(-1, 2).T
    return np.repeat(which.astype(np.int8), sizes)


def token_ends(text: str, tokens: Sequence[str], offsets: Sequence[tuple[int, int]]) -> list[int]:
    """The byte of `text` that each token ends before: of byte-level tokens one character a byte.

    `tokens` and `offsets` are those of a `tokenizers.Encoding`. Of other tokenizers the offsets in
    characters decide. Raises `DomainLMError` where the tokens do not make up the text.
    """
    size = len(text.encode())
    ends = np.cumsum([len(token) for token in tokens], dtype=np.int64)
    if not len(ends) or ends[-1] != size:
        characters = np.cumsum([0, *(len(c.encode()) for c in text)])
        ends = characters[np.maximum.accumulate([end for _, end in offsets] or [0])]
    if size and ends[-1] != size:
        raise DomainLMError(
            "the tokens of a text do not make it up: its losses have no place in it",
            where=repr(text[:60]),
            why=f"the tokens have {ends[-1]} bytes, the text {size}",
            fix="use a model with a byte-level tokenizer (GPT-2, Llama 3, Qwen, SmolLM, ...)",
        )
    return [int(end) for end in ends]


def characters(text: str, ends: Sequence[int]) -> list[int]:
    """The character that each token ends before, whole characters only, from `token_ends`."""
    sizes = np.cumsum([0, *(len(c.encode()) for c in text)])
    return [int(n) for n in np.searchsorted(sizes, ends, side="right") - 1]


def nats_by_kind(
    text: str, ends: Sequence[int], nats: npt.NDArray[np.floating]
) -> dict[str, tuple[float, int]]:
    """(nats, bytes) of each kind; `nats` and `ends` (`token_ends`) have shape (tokens,)."""
    sizes = np.diff([0, *ends])
    # A token without bytes of its own, such as a part of a character, costs where it stands.
    held = np.maximum.accumulate(np.where(sizes > 0, np.arange(len(sizes)), 0))
    costs = np.bincount(held, weights=nats, minlength=len(sizes))
    each = np.repeat(costs / np.maximum(sizes, 1), sizes)
    which = kinds(text)
    sums = np.bincount(which, weights=each, minlength=len(KINDS))
    bytes = np.bincount(which, minlength=len(KINDS))
    return {kind: (float(sums[n]), int(bytes[n])) for n, kind in enumerate(KINDS)}
