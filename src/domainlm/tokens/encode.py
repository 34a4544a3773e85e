"""Documents to ids: gigatoken, its ids checked against tokenizers on a sample of each task."""

import contextlib
import functools
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from domainlm.artifacts import atomic_write, read_json, sha256_file, write_json
from domainlm.console import say
from domainlm.corpus.documents import TRAINED
from domainlm.errors import DomainLMError
from domainlm.tokens import shards
from domainlm.tokens.tokenizer import plain_json, texts

# Bytes at each of three places whose ids are compared: more in the first task, which speaks for
# all. The same in every worker, so that what is written does not depend on who writes it.
SAMPLE, FIRST_SAMPLE = 10_000, 100_000
RENEWED = 200_000_000  # bytes: gigatoken keeps every word it has met, so it is made anew


class Encoder:
    """Encodes texts as plain text: no special token is ever read out of a document."""

    def __init__(self, tokenizer: Path) -> None:
        import tokenizers

        spec = read_json(tokenizer)
        self.plain = plain_json(tokenizer)
        self.reference = tokenizers.Tokenizer.from_str(self.plain)
        self.separator = _id_of(spec, read_json(tokenizer.parent / "tokenizer_config.json"))
        self.vocabulary = vocabulary_size(spec)
        self.lengths = shards.byte_lengths(spec, self.vocabulary)
        self.refusal = ""  # why gigatoken does not take this tokenizer
        self.met = 0
        self.fast = self._gigatoken()

    def _gigatoken(self) -> Any:
        import gigatoken

        try:
            return gigatoken.Tokenizer.from_json(self.plain)
        except (ValueError, RuntimeError, NotImplementedError) as error:
            self.refusal = f"gigatoken says: {str(error).splitlines()[0]}"
            return None

    def encode(self, batch: list[bytes], fast: bool) -> list[npt.NDArray[Any]]:
        """Ids of each UTF-8 text, by gigatoken if `fast`, else by tokenizers."""
        if not fast:
            encodings = self.reference.encode_batch_fast(
                [t.decode() for t in batch], add_special_tokens=False
            )
            return [np.array(e.ids, np.uint32) for e in encodings]
        found = []
        for text in batch:
            found.append(self.fast.encode(text))
            self.met += len(text)
            if self.met > RENEWED:
                self.fast, self.met = self._gigatoken(), 0
        return found

    def agrees(self, batch: list[bytes], sample: int) -> bool:
        """Whether gigatoken gives the ids of tokenizers, at three places of a batch."""
        if self.fast is None:
            return False
        pieces = (batch[0][:sample], batch[-1][-sample:], batch[len(batch) // 2][:sample])
        for piece in (p.decode(errors="ignore") for p in pieces):
            ids = self.reference.encode(piece, add_special_tokens=False).ids
            if not np.array_equal(self.fast.encode(piece), np.array(ids, np.uint32)):
                self.refusal = "gigatoken gives other ids"
                return False
        return True


@functools.lru_cache(maxsize=2)
def _encoder(tokenizer: Path, sha256: str) -> Encoder:
    """A worker loads a tokenizer once for all of its tasks."""
    return Encoder(tokenizer)


def encode(root: Path, arguments: dict[str, Any]) -> dict[str, int]:
    """Task: one document file to its `train` and `validation` shards in `folder`.

    `encoded-NNNNN.json` lists them, with tokens, documents, bytes and hashes, for the index.
    """
    folder = root / arguments["folder"]
    number = arguments["number"]
    encoder = _encoder(folder / "tokenizer.json", sha256_file(folder / "tokenizer.json"))
    dtype = np.dtype("<u2" if encoder.vocabulary <= 2**16 else "<u4")
    names = {split: f"{split}-{number:05d}" for split in TRAINED}
    ends: dict[str, list[npt.NDArray[Any]]] = {s: [np.zeros(1, np.int64)] for s in TRAINED}
    sizes = dict.fromkeys(TRAINED, 0)
    digests = {split: hashlib.sha256() for split in TRAINED}
    fast = None  # not known before the first batch
    with contextlib.ExitStack() as stack:
        files = {
            s: stack.enter_context(atomic_write(folder / f"{n}.bin")) for s, n in names.items()
        }
        for split, batch in texts([root / arguments["documents"]], TRAINED):
            if fast is None:
                fast = encoder.agrees(batch, SAMPLE if number else FIRST_SAMPLE)
                if not (fast or number):
                    say(f"  {folder.name}: encoding with tokenizers, {encoder.refusal}")
            ids = encoder.encode(batch, fast)
            after = np.cumsum([len(i) for i in ids])  # where each document ends
            flat = np.concatenate(ids)
            _same_bytes(encoder, batch, flat, after, arguments["documents"])
            data = np.insert(flat.astype(dtype), after, encoder.separator).data
            files[split].write(data)
            digests[split].update(data)
            ends[split].append(ends[split][-1][-1] + after + np.arange(1, len(after) + 1))
            sizes[split] += sum(map(len, batch))
    entries, rows = {}, {}
    for split, name in names.items():
        found = np.concatenate(ends[split])
        with atomic_write(folder / f"{name}.ends") as file:
            file.write(found[1:].astype("<u8").tobytes())
        entries[split] = {
            "path": f"{name}.bin",
            "ends": f"{name}.ends",
            "tokens": int(found[-1]),
            "documents": len(found) - 1,
            "bytes": sizes[split],
            "sha256": digests[split].hexdigest(),
        }
        rows[f"{arguments['folder']}/{name}.bin"] = len(found) - 1
    write_json(
        folder / f"encoded-{number:05d}.json",
        {"separator": encoder.separator, "vocabulary": encoder.vocabulary, "splits": entries},
    )
    return rows


def _same_bytes(
    encoder: Encoder,
    batch: list[bytes],
    flat: npt.NDArray[Any],
    after: npt.NDArray[Any],
    where: str,
) -> None:
    """Raise where the tokens of a document have not as many bytes as its text."""
    if encoder.lengths is None:
        return
    sums = np.zeros(len(flat) + 1, np.int64)
    np.cumsum(encoder.lengths[flat], out=sums[1:])
    found = np.diff(sums[after], prepend=0)
    sizes = np.array([len(t) for t in batch])
    for n in np.flatnonzero(found != sizes)[:1]:
        raise DomainLMError(
            "the tokenizer does not keep every byte of a document",
            where=f"{where}: {batch[n][:60].decode(errors='replace')!r}",
            why=f"{found[n]} bytes in tokens, {sizes[n]} in the text",
            fix="give a byte-level tokenizer, or tokens.vocabulary to train one",
        )


def index(root: Path, arguments: dict[str, Any]) -> None:
    """Task: `index.json` of a folder of shards."""
    folder = root / arguments["folder"]
    parts = [read_json(folder / f"encoded-{n:05d}.json") for n in range(arguments["count"])]
    splits: dict[str, Any] = {}
    for split in TRAINED:
        entries = [p["splits"][split] for p in parts]
        splits[split] = {
            key: sum(e[key] for e in entries) for key in ("tokens", "documents", "bytes")
        } | {"shards": entries}
    if not splits["train"]["tokens"]:
        raise DomainLMError("the train split has no tokens", where=str(folder))
    write_json(
        folder / "index.json",
        {
            "schema_version": shards.SCHEMA_VERSION,
            "tokenizer_sha256": sha256_file(folder / "tokenizer.json"),
            "vocabulary": parts[0]["vocabulary"],
            "separator": parts[0]["separator"],
            "dtype": "uint16" if parts[0]["vocabulary"] <= 2**16 else "uint32",
            "splits": splits,
        },
    )


def vocabulary_size(spec: dict[str, Any]) -> int:
    """One more than the largest id, added tokens included."""
    ids = [*spec["model"]["vocab"].values(), *(t["id"] for t in spec.get("added_tokens", ()))]
    return int(max(ids)) + 1


def _id_of(spec: dict[str, Any], config: dict[str, Any]) -> int:
    """The id of the token between documents."""
    for added in spec.get("added_tokens", ()):
        if added["content"] == config["eos_token"]:
            return int(added["id"])
    return int(spec["model"]["vocab"][config["eos_token"]])
