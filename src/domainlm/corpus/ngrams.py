"""Hashes of word n-grams, by arrays: what near-duplicates and the leakage audit compare.

A word is a run of letters and digits, ASCII in lower case. Other characters count as letters, but
for signs and punctuation (U+0080 to U+00BF, U+2000 to U+2BFF); from U+3000 up, where scripts are
written without spaces, each is a word.
"""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
Offsets = npt.NDArray[np.int64]

# For bytes.translate: letters in lower case, 0 for what stands between words.
_LETTERS = bytes(b if b > 127 or bytes([b]).isalnum() else 0 for b in range(256)).lower()
_FIRST = np.array([(1 << 8 * n) - 1 for n in range(9)], np.uint64)  # masks of the first n bytes
_PLACE = np.random.default_rng(2026).integers(1, 2**63, 64, np.uint64) | np.uint64(1)
_BLOCK = 1 << 17  # bytes (or words) hashed at once: what stays in a core's cache
_LONG = 32  # bytes of a word from which it is hashed alone


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
    """Hashes of the words of `data`, and where each begins: 8 bytes of all words at a time."""
    letters = bytearray(len(data) + 16)  # a zero before, and what is read past the end after
    letters[1 : len(data) + 1] = data.translate(_LETTERS)
    raw = np.frombuffer(letters, np.uint8)
    alone = None if data.isascii() else _part_characters(raw)
    inside = raw != 0
    edges = inside[1:] != inside[:-1]
    if alone is None:
        changes = np.flatnonzero(edges) + 1
        first, last = changes[::2], changes[1::2]
    else:
        edges |= alone[1:]
        first = np.flatnonzero(inside[1:] & edges) + 1
        last = np.flatnonzero(inside[:-1] & edges) + 1
    eights = np.ndarray(len(letters) - 7, "<u8", letters, 0, 1)  # overlapping: one at every byte
    length = last - first
    hashes = mixed(eights[first] & _FIRST.take(length, mode="clip"))
    more = np.flatnonzero(length > 8)
    for done in range(8, _LONG, 8):
        chunk = eights[first[more] + done] & _FIRST.take(length[more] - done, mode="clip")
        hashes[more] = mixed(hashes[more] + chunk)
        more = more[length[more] > done + 8]
    for i in more:
        digest = blake2b(letters[first[i] : last[i]], digest_size=8).digest()
        hashes[i] = int.from_bytes(digest, "little")
    return hashes, first - 1


def _part_characters(raw: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_] | None:
    """Blank signs and punctuation out of UTF-8; where characters that are words begin and end."""
    high = np.flatnonzero(raw > 127)
    lead = raw[high]
    signs = high[lead == 0xC2]
    marks = high[(lead == 0xE2) & (raw[high + 1] < 0xB0)]
    for at in (signs, signs + 1, marks, marks + 1, marks + 2):
        raw[at] = 0
    wide = lead > 0xE2
    if not wide.any():
        return None
    alone = np.zeros(len(raw), bool)
    alone[high[wide]] = alone[high[wide] + np.where(lead[wide] < 0xF0, 3, 4)] = True
    return alone


def ngram_hashes(texts: Sequence[str], n: int) -> tuple[Hashes, Offsets]:
    """64-bit hashes of the n-grams of words of each text (none of a text of fewer words), flat."""
    words, offsets = word_hashes(texts)
    count = max(0, len(words) - n + 1)
    grams = np.empty(count, np.uint64)
    for begin in range(0, count, _BLOCK):
        block = grams[begin : begin + _BLOCK]
        block[:] = 0
        for place in range(n):
            block += words[begin + place : begin + place + len(block)] * _PLACE[place]
        block[:] = mixed(block)
    across = offsets[1:, None] - np.arange(1, n)  # those that would reach into the next text
    across = across[across >= offsets[:-1, None]]
    kept = np.ones(count, bool)
    kept[across[across < count]] = False
    lengths = np.maximum(np.diff(offsets) - n + 1, 0)
    return grams[kept], np.concatenate([[0], np.cumsum(lengths)])


def mixed(values: Hashes) -> Hashes:
    """The finaliser of MurmurHash3: every bit of the input moves half of the output's."""
    values = values ^ (values >> np.uint64(33))
    values *= np.uint64(0xFF51AFD7ED558CCD)
    values ^= values >> np.uint64(33)
    values *= np.uint64(0xC4CEB9FE1A85EC53)
    values ^= values >> np.uint64(33)
    return values
