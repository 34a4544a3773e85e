"""Token shards: raw little-endian uint16/uint32, with document ends and hashes.

This is the stage's written schema and its reader. A folder holds `index.json` and, for each
split, `SPLIT-NNNNN.bin` (the ids; the separator after each document) and `SPLIT-NNNNN.ends`
(little-endian uint64: for each document, the position in the shard just after its separator).
"""

import bisect
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from domainlm.artifacts import read_json, sha256_file
from domainlm.errors import DomainLMError

SCHEMA_VERSION = 1


@dataclasses.dataclass(frozen=True)
class Shards:
    """All the tokens of one split as one sequence of `total` ids over memory-mapped files."""

    files: tuple[npt.NDArray[Any], ...]
    starts: tuple[int, ...]  # position of each file's first token; the last entry is the total
    separator: int
    vocabulary: int
    bytes: int  # UTF-8 bytes of the text that the tokens encode

    @property
    def total(self) -> int:
        """Number of tokens, separators included."""
        return self.starts[-1]

    def window(self, start: int, length: int) -> npt.NDArray[np.int64]:
        """Ids of positions `start` to `start + length`, shape (length,); may span files."""
        if start < 0 or start + length > self.total:
            raise IndexError(f"window {start}+{length} outside {self.total} tokens")
        pieces = []
        number = bisect.bisect_right(self.starts, start) - 1
        while length > 0:
            offset = start - self.starts[number]
            piece = self.files[number][offset : offset + length]
            pieces.append(piece.astype(np.int64))
            start, length, number = start + len(piece), length - len(piece), number + 1
        return np.concatenate(pieces) if pieces else np.zeros(0, np.int64)


def open_shards(folder: Path, split: str) -> Shards:
    """Open one split of a folder of shards; raises where a file is not as the index says."""
    index = read_json(folder / "index.json")
    dtype = np.dtype({"uint16": "<u2", "uint32": "<u4"}[index["dtype"]])
    files, starts = [], [0]
    for shard in index["splits"][split]["shards"]:
        path = folder / shard["path"]
        size = path.stat().st_size if path.is_file() else -1
        if size != shard["tokens"] * dtype.itemsize:
            raise DomainLMError(
                "a token shard is not what its index says",
                where=str(path),
                why=f"{max(size, 0)} bytes, expected {shard['tokens'] * dtype.itemsize}",
                fix="give the run command again: damaged shards are made anew",
            )
        files.append(np.memmap(path, dtype, "r") if size else np.zeros(0, dtype))
        starts.append(starts[-1] + shard["tokens"])
    return Shards(
        tuple(files),
        tuple(starts),
        index["separator"],
        index["vocabulary"],
        index["splits"][split]["bytes"],
    )


def check_shards(folder: Path, split: str) -> None:
    """Raise where a shard is another than the index says, or has ids beyond the vocabulary.

    Reads all of it, at the speed of SHA-256: for the moment before hours are spent.
    """
    index = read_json(folder / "index.json")
    shards = open_shards(folder, split)
    for shard, ids in zip(index["splits"][split]["shards"], shards.files, strict=True):
        path = folder / shard["path"]
        highest = int(ids.max()) if len(ids) else 0
        if highest >= shards.vocabulary:
            why = f"it has the id {highest:,}; the tokenizer has {shards.vocabulary:,}"
        elif (found := sha256_file(path)) != shard["sha256"]:
            why = f"SHA-256 {found[:12]}..., expected {shard['sha256'][:12]}..."
        else:
            continue
        raise DomainLMError(
            "a token shard is not the one that its index speaks of",
            where=str(path),
            why=why,
            fix="remove the file and give the run command again: it is made anew",
        )


def token_bytes(folder: Path) -> npt.NDArray[np.int64]:
    """UTF-8 bytes of each token id of a folder's tokenizer, shape (vocabulary,).

    Raises where the tokenizer is not byte-level: its bytes cannot be counted token by token.
    """
    vocabulary = read_json(folder / "index.json")["vocabulary"]
    lengths = byte_lengths(read_json(folder / "tokenizer.json"), vocabulary)
    if lengths is None:
        raise DomainLMError(
            "the tokenizer is not byte-level",
            where=str(folder / "tokenizer.json"),
            why="its tokens cannot be told apart by bytes",
            fix="give a byte-level tokenizer, or tokens.vocabulary to train one",
        )
    return lengths


def byte_lengths(spec: dict[str, Any], vocabulary: int) -> npt.NDArray[np.int64] | None:
    """Bytes of each id of a `tokenizer.json`, special tokens none; None if not byte-level.

    In byte-level BPE a token's text has one character a byte (Radford 2019).
    """
    if "ByteLevel" not in str(spec.get("decoder")):
        return None
    lengths = np.zeros(vocabulary, np.int64)
    for token, number in spec["model"]["vocab"].items():
        lengths[number] = len(token)
    for added in spec.get("added_tokens", ()):
        lengths[added["id"]] = 0
    return lengths
