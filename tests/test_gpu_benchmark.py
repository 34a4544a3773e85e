"""benchmarks/gpu on whatever is here: the same code, a tiny shape, torch and transformers alone."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gpu import pack

from domainlm.corpus import documents
from domainlm.corpus.documents import Document
from domainlm.evaluation.models import plain_tokenizer
from domainlm.tokens import encode, tokenizer
from domainlm.tokens.shards import check_shards, open_shards, token_bytes
from small import write_corpus

SCRIPT = Path(pack.__file__).with_name("run.py")
# What a machine with torch, transformers and numpy need not have.
BARE = """
import runpy, sys
for name in ("pydantic", "tomli_w", "pyarrow", "scipy", "sklearn", "gigatoken"):
    sys.modules[name] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory as far as its tokens."""
    root = tmp_path_factory.mktemp("gpu")
    write_corpus(root / "text")
    found = [
        Document(f"id{n}", path.parent.name, None, path.name, path.name, "s", path.read_text(), (),
                 ("train", "train", "validation", "unseen")[n % 4])
        for n, path in enumerate(sorted((root / "text").rglob("*.txt")))
    ]  # fmt: skip
    documents.write(root / "corpus" / "documents-00000.parquet", found)
    tokenizer.train(root, {"vocabulary": 512, "sample_bytes": 10_000_000})
    task = {"folder": "tokens", "documents": "corpus/documents-00000.parquet", "number": 0}
    encode.encode(root, task)
    encode.index(root, {"folder": "tokens", "count": 1})
    return root


def test_a_pack_is_whole_documents_within_its_size(run: Path, tmp_path: Path) -> None:
    source, out = run / "tokens", tmp_path / "packed"
    everything = pack.pack(run, tmp_path / "all", 45)
    total = open_shards(source, "train").total
    assert everything["train"]["tokens"] == total
    tokens = total + everything["validation"]["tokens"]
    megabytes = everything["megabytes"] - 2e-6 * tokens + 1e-6 * total  # room for half of train
    found = pack.pack(run, out, megabytes)
    assert sum(f.stat().st_size for f in out.iterdir()) <= megabytes * 1e6
    for split in ("train", "validation"):
        check_shards(out, split)
        packed = open_shards(out, split)
        assert packed.total < open_shards(source, split).total
        ids = packed.window(0, packed.total)
        assert (ids == packed.separator).sum() == found[split]["documents"]
        assert token_bytes(out)[ids].sum() == packed.bytes == found[split]["bytes"]
    assert total / 4 < found["train"]["tokens"] < total / 2
    texts = {d.text for d in documents.read(documents.paths(run), ("train",))}
    ids = open_shards(out, "train").window(0, found["train"]["tokens"])
    pieces = np.split(ids, np.flatnonzero(ids == packed.separator) + 1)[:-1]
    plain = plain_tokenizer(out)
    assert {plain.decode(p[:-1].tolist()) for p in pieces} < texts
    with np.load(out / "held-out.npz") as held_out:
        assert len(held_out["bytes"]) == found["held_out"]["unseen"] == 10
        assert held_out["offsets"][-1] == len(held_out["ids"])
        assert token_bytes(out)[held_out["ids"]].sum() == held_out["bytes"].sum()


@pytest.mark.slow
def test_every_part_measures(run: Path, tmp_path: Path) -> None:
    packed = tmp_path / "packed"
    pack.pack(run, packed, 45)
    parts = ("device", "recipes", "loss", "race", "sweep")
    command = [sys.executable, "-c", BARE, SCRIPT, "--smoke", "--out", tmp_path, "--parts", *parts]
    command += ["--tokens", packed, "--train", "0.1", "--score", packed / "held-out.npz"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert set(found) == {"left_out", *parts, "train"}
    assert found["left_out"] == {}
    assert found["device"][0]["matmul_tflops"] > 0

    names = ["gpt2-tiny", "modern-tiny"]
    shapes = [(row["model"], row["context"]) for row in found["recipes"]]
    assert shapes == [(name, context) for name in names for context in (32, 16)]
    assert [(row["model"], row["micro_batch"]) for row in found["sweep"]] == [
        (name, size) for name in names for size in (2, 1)
    ]
    for row in (*found["recipes"], *found["sweep"]):
        assert row["tokens_per_second"] > 0 and row["utilization"] > 0

    plain, fused = found["loss"]
    assert (plain["kind"], fused["kind"]) == ("plain", "fused")
    limit = 1e-5 if found["device"][0]["precision"] == "fp32" else 2e-2
    assert max(fused[key] for key in ("loss_apart", "hidden_apart", "weight_apart")) < limit

    *arms, level = found["race"]
    assert [arm["model"] for arm in arms] == names
    assert level["classic_bits_per_byte"] < 8 and level["modern_bits_per_byte"] < 8

    facts, scores, *samples = found["train"]
    log = (tmp_path / "training-modern-tiny.jsonl").read_text().splitlines()
    assert json.loads(log[-1])["step"] == facts["steps"] > 0
    with np.load(packed / "held-out.npz") as held_out:
        assert scores["tokens"] == np.diff(held_out["offsets"]).tolist()
        bits = np.array(scores["nats"]) / math.log(2) / held_out["bytes"]
    assert ((bits > 0) & (bits < 8)).all()
    assert len(samples) == 4 and all(row["prompt"] and row["text"] for row in samples)


@pytest.mark.slow
def test_the_race_is_left_out_loudly_without_tokens(tmp_path: Path) -> None:
    command = [sys.executable, SCRIPT, "--smoke", "--out", tmp_path, "--parts", "race"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert "RACE IS LEFT OUT" in done.stdout
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert found["race"] == [] and "no real tokens" in found["left_out"]["race"]
    assert found["device"][0]["matmul_tflops"] > 0
