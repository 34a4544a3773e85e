"""Documents to ids: gigatoken, its ids checked against tokenizers on a sample of each task."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from domainlm.artifacts import atomic_write, read_json, sha256_file, write_json
from domainlm.console import say
from domainlm.corpus import documents
from domainlm.errors import DomainLMError
from domainlm.tokens import shards
from domainlm.tokens.tokenizer import plain_json

SAMPLE = 100_000  # characters of a batch whose ids are compared
BATCH = 16_000_000  # characters encoded at once
TRAINED = ("train", "validation")


class Encoder:
    """Encodes texts as plain text: no special token is ever read out of a document."""

    def __init__(self, tokenizer: Path, tell: bool = True) -> None:
        import tokenizers

        self.reference = tokenizers.Tokenizer.from_str(plain_json(tokenizer))
        self.tell = tell  # one task of many speaks for all
        self.fast = self._gigatoken(tokenizer)
        self.checked = False

    def _gigatoken(self, tokenizer: Path) -> Any:
        import gigatoken

        try:
            return gigatoken.Tokenizer.from_json(plain_json(tokenizer))
        except (ValueError, RuntimeError, NotImplementedError) as error:
            if not self.tell:
                return None
            reason = str(error).splitlines()[0]
            say(f"  {tokenizer.parent.name}: encoding with tokenizers, gigatoken says: {reason}")
            return None

    def encode(self, texts: list[str]) -> list[npt.NDArray[np.uint32]]:
        """Ids of each text. The first batch is compared with tokenizers, id by id."""
        if not self.checked:
            self._check(texts)
            self.checked = True
        if self.fast is None:
            encodings = self.reference.encode_batch_fast(texts, add_special_tokens=False)
            return [np.array(e.ids, np.uint32) for e in encodings]
        flat = self.fast.encode_batch([t.encode() for t in texts])
        return [np.asarray(row, np.uint32) for row in flat]

    def _check(self, texts: list[str]) -> None:
        if self.fast is None:
            return
        for text in (texts[0][:SAMPLE], texts[-1][-SAMPLE:], texts[len(texts) // 2][:SAMPLE]):
            ours = np.asarray(self.fast.encode(text))
            theirs = np.array(self.reference.encode(text, add_special_tokens=False).ids)
            if not np.array_equal(ours, theirs):
                if self.tell:
                    say("  gigatoken and tokenizers give different ids; using tokenizers")
                self.fast = None
                return


def encode(root: Path, arguments: dict[str, Any]) -> dict[str, int]:
    """Task: one document file to its `train` and `validation` shards in `folder`.

    `encoded-NNNNN.json` lists them, with tokens, documents, bytes and hashes, for the index.
    """
    folder = root / arguments["folder"]
    number = arguments["number"]
    spec = read_json(folder / "tokenizer.json")
    separator = _id_of(spec, read_json(folder / "tokenizer_config.json")["eos_token"])
    vocabulary = vocabulary_size(spec)
    dtype = np.dtype("<u2" if vocabulary <= 2**16 else "<u4")
    encoder = Encoder(folder / "tokenizer.json", tell=number == 0)
    lengths = shards.byte_lengths(spec, vocabulary)
    entries, rows = {}, {}
    for split in TRAINED:
        path, ends_path = (folder / f"{split}-{number:05d}{end}" for end in (".bin", ".ends"))
        ends, text_bytes, position = [], 0, 0
        with atomic_write(path) as file:
            for texts in _batches(root / arguments["documents"], split):
                for text, ids in zip(texts, encoder.encode(texts), strict=True):
                    size = len(text.encode())
                    if lengths is not None and int(lengths[ids].sum()) != size:
                        raise DomainLMError(
                            "the tokenizer does not keep every byte of a document",
                            where=f"{arguments['documents']}: {text[:60]!r}",
                            why=f"{int(lengths[ids].sum())} bytes in tokens, {size} in the text",
                            fix="give a byte-level tokenizer, or tokens.vocabulary to train one",
                        )
                    file.write(ids.astype(dtype).tobytes())
                    file.write(np.array([separator], dtype).tobytes())
                    text_bytes += size
                    position += len(ids) + 1
                    ends.append(position)
        with atomic_write(ends_path) as file:
            file.write(np.array(ends, "<u8").tobytes())
        entries[split] = {
            "path": path.name,
            "ends": ends_path.name,
            "tokens": position,
            "documents": len(ends),
            "bytes": text_bytes,
            "sha256": sha256_file(path),
        }
        rows[path.relative_to(root).as_posix()] = len(ends)
    write_json(
        folder / f"encoded-{number:05d}.json",
        {"separator": separator, "vocabulary": vocabulary, "splits": entries},
    )
    return rows


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


def _id_of(spec: dict[str, Any], token: str) -> int:
    for added in spec.get("added_tokens", ()):
        if added["content"] == token:
            return int(added["id"])
    return int(spec["model"]["vocab"][token])


def _batches(path: Path, split: str) -> Any:
    """Texts of one split in lists of about `BATCH` characters."""
    texts: list[str] = []
    size = 0
    for document in documents.read([path], [split]):
        texts.append(document.text)
        size += len(document.text)
        if size >= BATCH:
            yield texts
            texts, size = [], 0
    if texts:
        yield texts
