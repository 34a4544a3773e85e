"""Hashes of word n-grams, by arrays: what near-duplicates and the leakage audit compare.

A word is a run of letters and digits (bytes of UTF-8 from 0x80 up count as letters), in lower
case; of scripts written without spaces (lead bytes from 0xE3 up) each character is a word.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
Offsets = npt.NDArray[np.int64]

_SEED = np.random.default_rng(2026)
_LETTERS = b"abcdefghijklmnopqrstuvwxyz"
_IS_LETTER = bytes(128 <= b or bytes([b]).isalnum() for b in range(256))  # for bytes.translate
_ALONE = np.zeros(256, bool)
_ALONE[0xE3:0xF5] = True
_BYTE = _SEED.integers(1, 2**63, 256, np.uint64) | np.uint64(1)  # a random number a byte
_BYTE[[*_LETTERS.upper()]] = _BYTE[[*_LETTERS]]
_PLACE = _SEED.integers(1, 2**63, 64, np.uint64) | np.uint64(1)  # a random odd number a place
_BASE = 0x9E3779B97F4A7C15
_BLOCK = 1 << 18  # bytes hashed at once: what stays in a core's cache


def word_hashes(texts: Sequence[str]) -> tuple[Hashes, Offsets]:
    """64-bit hashes of the words of each text, flat; text `i` has `offsets[i]:offsets[i + 1]`."""
    encoded = [t.encode("utf-8", "replace") for t in texts]
    data = b"\n".join([*encoded, b""])
    hashes, starts = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
    begin = 0
    while begin < len(data):
        end = begin + _BLOCK
        if end < len(data):  # no word is cut: at a blank, the last one or else the next
            end = data.rfind(b" ", begin, end) + 1 or data.find(b"\n", end) + 1
        found, first = _block_hashes(data[begin:end])
        hashes.append(found)
        starts.append(first + begin)
        begin = min(end, len(data))
    bounds = np.cumsum([0, *(len(e) + 1 for e in encoded)])
    return np.concatenate(hashes), np.searchsorted(np.concatenate(starts), bounds)


def _block_hashes(data: bytes) -> tuple[Hashes, Offsets]:
    """Hashes of the words of `data`, and where each begins."""
    raw = np.frombuffer(data, np.uint8)
    edges = np.zeros(len(data) + 2, np.int8)
    edges[1:-1] = np.frombuffer(data.translate(_IS_LETTER), np.int8)
    changes = np.flatnonzero(np.diff(edges))
    first, last = changes[::2], changes[1::2]
    if not data.isascii() and (alone := _ALONE[raw]).any():
        more = np.union1d(first, np.flatnonzero(alone))
        last = last[np.searchsorted(last, more, "right")]
        last[:-1] = np.minimum(last[:-1], more[1:])
        first = more
    # A polynomial in an odd base modulo 2^64: prefix sums, shifted back by the inverse power.
    powers, inverses = _powers(len(data))
    sums = np.zeros(len(data) + 1, np.uint64)
    np.cumsum(_BYTE[raw] * powers[: len(data)], out=sums[1:])
    return _mixed((sums[last] - sums[first]) * inverses[first]), first


def ngram_hashes(texts: Sequence[str], n: int) -> tuple[Hashes, Offsets]:
    """64-bit hashes of the n-grams of words of each text (none of a text of fewer words), flat."""
    words, offsets = word_hashes(texts)
    count = max(0, len(words) - n + 1)
    total = np.zeros(count, np.uint64)
    for place in range(n):
        total += words[place : place + count] * _PLACE[place]
    lengths = np.maximum(np.diff(offsets) - n + 1, 0)
    grams = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    kept = np.repeat(offsets[:-1] - grams[:-1], lengths) + np.arange(grams[-1])
    return _mixed(total[kept]), grams


_powers_kept: list[tuple[Hashes, Hashes]] = []


def _powers(size: int) -> tuple[Hashes, Hashes]:
    """Powers of the base and of its inverse modulo 2^64, at least `size` of each."""
    if not _powers_kept or len(_powers_kept[0][0]) < size:
        length = max(_BLOCK, 1 << (size - 1).bit_length())
        made = []
        for base in (_BASE, pow(_BASE, -1, 2**64)):
            factors = np.full(length, base, np.uint64)
            factors[0] = 1
            made.append(np.cumprod(factors))
        _powers_kept[:] = [(made[0], made[1])]
    return _powers_kept[0]


def _mixed(values: Hashes) -> Hashes:
    """The finaliser of MurmurHash3: every bit of the input moves half of the output's."""
    values = values ^ (values >> np.uint64(33))
    values *= np.uint64(0xFF51AFD7ED558CCD)
    values ^= values >> np.uint64(33)
    values *= np.uint64(0xC4CEB9FE1A85EC53)
    values ^= values >> np.uint64(33)
    return values
