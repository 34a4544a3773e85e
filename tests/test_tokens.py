import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from domainlm.artifacts import read_json, sha256_file
from domainlm.corpus import documents
from domainlm.corpus.documents import Document
from domainlm.errors import DomainLMError
from domainlm.tokens import encode, shards, tokenizer

TEXTS = [
    "The registrant's revenue rose to $1,234.5 million in 2021, or 12 %.",
    "A literal <|endoftext|> in a text is text, not the end of it.",
    "Ünïcode – “quotes”, 漢字, emoji 🎈 and\ttabs\n\n\nand lines.",
    "x" * 5000,
    " leading and trailing ",
]


def task(root: Path, number: int) -> None:
    path = f"corpus/documents-{number:05d}.parquet"
    encode.encode(root, {"folder": "tokens", "documents": path, "number": number})


def hashes(root: Path) -> dict[str, str]:
    return {f.name: sha256_file(f) for f in sorted((root / "tokens").glob("*-*"))}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    found = [
        Document(
            f"id{n}", "g", None, "t", f"u{n}", "s", text * 3, (), "train" if n else "validation"
        )
        for n, text in enumerate(TEXTS)
    ]
    documents.write(tmp_path / "corpus" / "documents-00000.parquet", found[:3])
    documents.write(tmp_path / "corpus" / "documents-00001.parquet", found[3:])
    tokenizer.train(tmp_path, {"vocabulary": 512, "sample_bytes": 10_000_000})
    task(tmp_path, 0)
    task(tmp_path, 1)
    encode.index(tmp_path, {"folder": "tokens", "count": 2})
    return tmp_path


def test_shards_hold_every_document_and_its_end(root: Path) -> None:
    reference = Tokenizer.from_file(str(root / "tokens" / "tokenizer.json"))
    opened = shards.open_shards(root / "tokens", "train")
    ids = opened.window(0, opened.total)
    ends = np.flatnonzero(ids == opened.separator)
    pieces = np.split(ids, ends + 1)[:-1]
    assert [reference.decode(p[:-1].tolist()) for p in pieces] == [t * 3 for t in TEXTS[1:]]
    assert opened.bytes == sum(len(t.encode()) * 3 for t in TEXTS[1:])
    assert shards.token_bytes(root / "tokens")[ids].sum() == opened.bytes
    stored = np.concatenate(
        [np.fromfile(f, "<u8") for f in sorted((root / "tokens").glob("train-*.ends"))]
    )
    assert len(stored) == len(pieces)


def test_the_index_names_its_hashes(root: Path) -> None:
    index = read_json(root / "tokens" / "index.json")
    for split in ("train", "validation"):
        for shard in index["splits"][split]["shards"]:
            assert sha256_file(root / "tokens" / shard["path"]) == shard["sha256"]
    assert index["dtype"] == "uint16"
    assert index["splits"]["validation"]["documents"] == 1


def test_a_window_may_span_files(root: Path) -> None:
    opened = shards.open_shards(root / "tokens", "train")
    whole = opened.window(0, opened.total)
    border = opened.starts[1]
    assert np.array_equal(opened.window(border - 5, 10), whole[border - 5 : border + 5])
    with pytest.raises(IndexError):
        opened.window(opened.total - 1, 2)


def test_a_truncated_shard_is_found(root: Path) -> None:
    path = root / "tokens" / "train-00000.bin"
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(DomainLMError, match="not what its index says"):
        shards.open_shards(root / "tokens", "train")


@settings(max_examples=40)
@given(text=st.text(min_size=1))
def test_any_text_round_trips_with_the_same_ids_as_tokenizers(shared_tokenizer, text: str) -> None:
    encoder, reference = shared_tokenizer
    [ids] = encoder.encode([text.encode()], fast=True)
    assert ids.tolist() == encoder.reference.encode(text, add_special_tokens=False).ids
    assert reference.decode(ids.tolist(), skip_special_tokens=False) == text


@pytest.fixture(scope="module")
def shared_tokenizer(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("tokenizer")
    text = tokenizer.byte_level_bpe([t.encode() for t in TEXTS], 400)
    (folder / "tokenizer.json").write_text(text)
    tokenizer.write_config(folder, "<|endoftext|>")
    encoder = encode.Encoder(folder / "tokenizer.json")
    assert encoder.fast is not None
    return encoder, Tokenizer.from_str(text)


def test_a_literal_separator_is_never_the_special_id(shared_tokenizer) -> None:
    encoder, _ = shared_tokenizer
    [ids] = encoder.encode([b"before <|endoftext|> after"], fast=True)
    assert 0 not in ids


def test_the_merges_are_those_of_tokenizers() -> None:
    from tokenizers import models, pre_tokenizers, trainers

    texts = [" ".join(f"word{n % 17} figure {n % 5}" for n in range(400)), *TEXTS[:3]]
    ours = Tokenizer.from_str(tokenizer.byte_level_bpe([t.encode() for t in texts], 350))
    theirs = Tokenizer(models.BPE())
    theirs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    theirs.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=350,
            special_tokens=[tokenizer.SEPARATOR],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    for text in texts:
        assert ours.encode(text).tokens == theirs.encode(text).tokens


class Wrong:
    """A fast encoder that is not exact: it knows the bytes, and none of the merges."""

    def __init__(self, reference: Tokenizer) -> None:
        self.ids = [reference.token_to_id(letter) for letter in tokenizer.byte_letters()]

    def encode(self, text: str | bytes) -> np.ndarray:
        data = text.encode() if isinstance(text, str) else text
        return np.array([self.ids[byte] for byte in data], np.uint32)


def test_where_ids_differ_a_task_falls_back_to_tokenizers(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = hashes(root)
    monkeypatch.setattr(encode.Encoder, "_gigatoken", lambda self: Wrong(self.reference))
    encode._encoder.cache_clear()
    try:
        task(root, 0)
        assert "gigatoken gives other ids" in capsys.readouterr().err
    finally:
        encode._encoder.cache_clear()
    assert hashes(root) == before


def test_a_renewed_encoder_gives_the_same_ids(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = hashes(root)
    made = []
    made_anew = encode.Encoder._gigatoken
    monkeypatch.setattr(encode.Encoder, "_gigatoken", lambda s: made.append(1) or made_anew(s))
    monkeypatch.setattr(encode, "RENEWED", 100)
    encode._encoder.cache_clear()
    task(root, 0)
    assert len(made) > 1
    assert hashes(root) == before


def test_small_batches_give_the_same_shards(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = hashes(root)
    monkeypatch.setattr(tokenizer, "BATCH", 1)
    task(root, 0)
    task(root, 1)
    assert hashes(root) == before


def test_a_tokenizer_that_drops_bytes_is_an_error(root: Path) -> None:
    path = root / "tokens" / "tokenizer.json"
    spec = read_json(path)
    [letter] = [k for k, v in spec["model"]["vocab"].items() if k == tokenizer.byte_letters()[0xF0]]
    spec["model"]["vocab"]["gone"] = spec["model"]["vocab"].pop(letter)
    spec["model"]["merges"] = [m for m in spec["model"]["merges"] if letter not in "".join(m)]
    path.write_text(json.dumps(spec))
    with pytest.raises(DomainLMError, match="does not keep every byte"):
        task(root, 0)


def test_documents_without_text_are_only_a_separator(root: Path) -> None:
    empty = [Document(f"e{n}", "g", None, "t", "u", "s", t, (), "train") for n, t in enumerate(
        ["", "one", "", "two", ""])]  # fmt: skip
    documents.write(root / "corpus" / "documents-00000.parquet", empty)
    task(root, 0)
    entry = read_json(root / "tokens" / "encoded-00000.json")["splits"]
    assert (entry["train"]["documents"], entry["train"]["bytes"]) == (5, 6)
    assert entry["validation"]["tokens"] == entry["validation"]["documents"] == 0
    ids = np.fromfile(root / "tokens" / "train-00000.bin", "<u2")
    assert (ids == 0).sum() == 5
    assert np.fromfile(root / "tokens" / "train-00000.ends", "<u8")[0] == 1


def test_a_given_tokenizer_keeps_its_ids(root: Path, tmp_path: Path) -> None:
    given_folder = root / "given"
    given_folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (given_folder / name).write_text((root / "tokens" / name).read_text())
    tokenizer.take(root, {"folder": "tokens/arm", "name": str(given_folder), "sha256": ""})
    assert read_json(root / "tokens/arm/tokenizer.json") == read_json(
        given_folder / "tokenizer.json"
    )
    assert read_json(root / "tokens/arm/tokenizer_config.json")["eos_token"] == "<|endoftext|>"
