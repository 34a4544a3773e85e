"""Train a byte-level BPE on the training split, or take a given tokenizer.

The format is Hugging Face's `tokenizer.json`; merges come from gigatoken, whose byte-pair
training gives the same merges as tokenizers at ten times the speed (Sennrich 2016, Radford 2019).
"""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from domainlm.artifacts import atomic_write, read_json, write_json
from domainlm.corpus import documents
from domainlm.errors import DomainLMError
from domainlm.pretrained import locate

SEPARATOR = "<|endoftext|>"
BATCH = 8_000_000  # bytes of text read at once


def train(root: Path, arguments: dict[str, Any]) -> None:
    """Task: `tokens/tokenizer.json` from the run's `train` documents, at most `sample_bytes`.

    Documents are taken in reading order at even distances, so that a sample covers them all.
    """
    limit, size = arguments["sample_bytes"], arguments["vocabulary"]
    paths = documents.paths(root)
    total = sum(len(text) for _, batch in texts(paths, ["train"]) for text in batch)
    if not total:
        raise DomainLMError("there is no training text to learn a tokenizer from", where=str(root))
    share, due, sample = min(1.0, limit / total), 0.0, []
    for _, batch in texts(paths, ["train"]):
        for text in batch:
            due += share
            if due >= 1.0:
                due -= 1.0
                sample.append(text)
    tokenizer = byte_level_bpe(sample, size)
    with atomic_write(root / "tokens" / "tokenizer.json", "w") as file:
        file.write(tokenizer)
    write_config(root / "tokens", SEPARATOR)


def texts(paths: Sequence[Path], splits: Sequence[str]) -> Iterator[tuple[str, list[bytes]]]:
    """UTF-8 texts of document files in lists of one split and about `BATCH` bytes each."""
    batches: dict[str, list[bytes]] = {split: [] for split in splits}
    sizes = dict.fromkeys(splits, 0)
    for path in paths:
        with pq.ParquetFile(path) as file:
            for rows in file.iter_batches(batch_size=64, columns=["text", "split"]):
                for split, batch in batches.items():
                    kept = rows["text"].filter(pc.equal(rows["split"], split))
                    batch += kept.cast(pa.binary()).to_pylist()
                    sizes[split] += kept.nbytes
                    if sizes[split] >= BATCH:
                        yield split, batch
                        batches[split], sizes[split] = [], 0
    yield from ((split, batch) for split, batch in batches.items() if batch)


def byte_level_bpe(texts: list[bytes], vocabulary: int) -> str:
    """A `tokenizer.json` with at most `vocabulary` ids: separator 0, bytes 1-256, merges."""
    import gigatoken
    from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE

    with _silence():
        _, merges = gigatoken.train_bpe(b"\0".join(texts), vocabulary, [SEPARATOR], separator=b"\0")
    letter = byte_letters()
    ids = {SEPARATOR: 0}
    for byte in range(256):
        ids[letter[byte]] = len(ids)
    pairs = [
        ("".join(letter[b] for b in left), "".join(letter[b] for b in right))
        for left, right in merges
    ]
    for left, right in pairs:
        ids.setdefault(left + right, len(ids))
    tokenizer = Tokenizer(BPE(vocab=ids, merges=pairs))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(SEPARATOR, special=True)])
    text: str = tokenizer.to_str()
    return text


def take(root: Path, arguments: dict[str, Any]) -> None:
    """Task: copy a given tokenizer (`name`: folder, package or Hub id) into `folder`."""
    folder = root / arguments["folder"]
    name = Path(arguments["name"]).expanduser()  # a local tokenizer needs no weights beside it
    source = name if name.is_dir() else locate(arguments["name"]).path
    folder.mkdir(parents=True, exist_ok=True)
    path = source / "tokenizer.json"
    if not path.is_file():
        # An older format (vocab.json + merges.txt): transformers converts it.
        from transformers import AutoTokenizer

        AutoTokenizer.from_pretrained(source).save_pretrained(folder)
    else:
        with atomic_write(folder / "tokenizer.json") as target, open(path, "rb") as given:
            shutil.copyfileobj(given, target)
    write_config(folder, separator_of(folder, source))


def separator_of(folder: Path, source: Path) -> str:
    """The token between documents: `<|endoftext|>` where there is one, else bos, else eos."""
    spec = read_json(folder / "tokenizer.json")
    known = {token["content"] for token in spec.get("added_tokens", ())} | set(
        spec["model"].get("vocab", ())
    )
    if SEPARATOR in known:
        return SEPARATOR
    config = source / "tokenizer_config.json"
    values = read_json(config) if config.is_file() else {}
    for name in ("bos_token", "eos_token"):
        token = values.get(name)
        token = token.get("content") if isinstance(token, dict) else token
        if token in known:
            return str(token)
    raise DomainLMError(
        "the tokenizer has no token to put between documents",
        where=str(source),
        why=f"neither {SEPARATOR}, bos nor eos is in its vocabulary",
        fix="give another tokenizer, or tokens.vocabulary to train one",
    )


def write_config(folder: Path, separator: str) -> None:
    """`tokenizer_config.json`, so that AutoTokenizer reads the folder."""
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": separator,
            "bos_token": separator,
            "clean_up_tokenization_spaces": False,
            "model_max_length": 1_000_000,
        },
    )


def byte_letters() -> list[str]:
    """The 256 printable characters that stand for bytes in byte-level BPE (Radford 2019)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {b: chr(b) for b in printable}
    others = [b for b in range(256) if b not in letters]
    letters |= {b: chr(256 + n) for n, b in enumerate(others)}
    return [letters[b] for b in range(256)]


def plain_json(path: Path) -> str:
    """A `tokenizer.json` without added tokens and post-processing, for encoding corpus text.

    Else a literal `<|endoftext|>` in a document becomes the separator: document ends, byte sums
    and round trips would break.
    """
    spec = read_json(path)
    spec["added_tokens"] = []
    spec["post_processor"] = None
    spec["truncation"] = spec["padding"] = None
    return json.dumps(spec, ensure_ascii=False)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Send file descriptors 1 and 2 to nowhere: the trainer's Rust code talks to them."""
    saved = os.dup(1), os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved[0], 1)
        os.dup2(saved[1], 2)
        for descriptor in (*saved, nowhere):
            os.close(descriptor)
