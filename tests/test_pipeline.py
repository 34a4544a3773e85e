"""The whole pipeline on a small corpus: what comes out, what is cached, and kill -9 anywhere."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from domainlm.artifacts import read_json
from small import command, domainlm

pytestmark = pytest.mark.slow
STAGES = ("corpus", "tokens", "training", "evaluation", "report")


def without_times(evidence: dict[str, Any]) -> dict[str, Any]:
    """Evidence less what a clock decides."""
    for row in evidence["cost"]:
        for key in ("seconds", "kwh", "kwh_method", "money"):
            row.pop(key)
    for point in (*evidence["curves"], *evidence["quality"]):
        point.pop("seconds")
    evidence["crossings"] = [r for r in evidence["crossings"] if r["by"] == "flops"]
    evidence.pop("environment")
    evidence.pop("command")
    evidence.pop("name")
    evidence["corpus"].pop("merkle_root")  # of files with times in them
    evidence.pop("recipe")
    return evidence


def test_the_run_directory_is_that_of_the_contract(finished: Path) -> None:
    root = finished / "runs" / "small"
    for path in (
        "recipe.toml", "manifest.json", "corpus/documents-00000.parquet", "corpus/ledger.json",
        "corpus/prompts.json", "tokens/tokenizer.json", "tokens/index.json",
        "tokens/train-00000.bin", "tokens/validation-00000.bin", "tokens/stock/index.json",
        "models/scratch/config.json", "models/scratch/model.safetensors",
        "models/scratch/README.md", "models/scratch/training.jsonl",
        "models/continued/model.safetensors", "evaluation/evidence.json",
        "evaluation/documents.parquet", "evaluation/windows.parquet",
        "evaluation/snapshots.parquet", "evaluation/samples.jsonl",
        "evaluation/surprisal.jsonl", "models/scratch/snapshots/2.safetensors", "report/index.html",
        "report/headline.png", "report/post.md",
    ):  # fmt: skip
        assert (root / path).is_file(), path
    assert not (root / "checkpoints" / "scratch").exists()


def test_the_evidence_has_every_model_and_gap(finished: Path) -> None:
    evidence = read_json(finished / "runs" / "small" / "evaluation" / "evidence.json")
    models = set(evidence["models"])
    assert {"stock", "scratch", "continued", "xz", "PPMd", "PPMd primed"} <= models
    scored = {(row["model"], row["split"]) for row in evidence["loss"]}
    assert scored == {(m, s) for m in models for s in ("seen", "unseen")}
    assert len({(r["split"], r["bytes"]) for r in evidence["loss"]}) == 2  # the same bytes for all
    gaps = {(g["a"], g["b"]) for g in evidence["gaps"]}
    assert ("scratch", "stock") in gaps and ("continued", "stock") in gaps
    loss = {(r["model"], r["split"]): r["bits_per_byte"] for r in evidence["loss"]}
    for gap in evidence["gaps"]:
        difference = loss[gap["a"], gap["split"]] - loss[gap["b"], gap["split"]]
        assert gap["bits_per_byte"] == pytest.approx(difference, abs=1e-9)
    assert loss["scratch", "unseen"] < loss["stock", "unseen"]  # the stock one is random weights
    assert loss["continued", "unseen"] < loss["stock", "unseen"]


def test_a_model_loads_and_generates_in_plain_transformers(finished: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path = finished / "runs" / "small" / "models" / "scratch"
    model = AutoModelForCausalLM.from_pretrained(path)
    tokenizer = AutoTokenizer.from_pretrained(path)
    inputs = tokenizer("Sales of the", return_tensors="pt")
    out = model.generate(**inputs, max_new_tokens=10, do_sample=False)
    assert tokenizer.decode(out[0]).startswith("Sales of the")
    assert model.config.eos_token_id == tokenizer.eos_token_id


def test_a_second_run_does_nothing(finished: Path) -> None:
    manifest = finished / "runs" / "small" / "manifest.json"
    before = read_json(manifest)["tasks"]
    done = domainlm("run", "small.toml", "--offline", cwd=finished)
    assert done.stderr.count("nothing to do") == 5
    assert read_json(manifest)["tasks"] == before
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("override", "first"),
    [
        ("split.unseen=0.4", "corpus"),
        ("tokens.vocabulary=600", "tokens"),
        ("train.1.tokens=10_000", "train"),
        ("evaluate.documents=3", "evaluate"),
    ],
)
def test_plan_says_what_a_changed_key_makes_stale(
    finished: Path, override: str, first: str
) -> None:
    done = domainlm("plan", "small.toml", "--offline", "--json", "--set", override, cwd=finished)
    states = {s["stage"]: s for s in json.loads(done.stdout)["stages"]}
    order = ["corpus", "tokens", "train", "evaluate", "report"]
    for stage in order:
        expected = "cached" if order.index(stage) < order.index(first) else "stale"
        assert states[stage]["state"] == expected, (stage, states[stage])
    if override.startswith("train.1"):
        assert [r.split(":")[0] for r in states["train"]["reasons"]] == ["training/continued"]


def test_verify_finds_one_flipped_byte(finished: Path) -> None:
    domainlm("verify", "runs/small", cwd=finished)
    path = finished / "runs" / "small" / "models" / "scratch" / "model.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    try:
        done = domainlm("verify", "runs/small", cwd=finished, code=4)
        assert "models/scratch/model.safetensors: differs" in done.stdout
    finally:
        path.write_bytes(data)
    domainlm("verify", "runs/small", cwd=finished)


def test_errors_are_short_and_have_no_traceback(finished: Path) -> None:
    done = domainlm("run", "small.toml", "--set", "train.0.tokns=3", cwd=finished, code=2)
    assert "did you mean train.0.tokens?" in done.stderr
    assert domainlm("run", "nothing", cwd=finished, code=2).stdout == ""
    domainlm("verify", "nowhere", cwd=finished, code=2)
    domainlm("run", "small.toml", "--until", "nowhere", cwd=finished, code=2)
    domainlm("run", "small.toml", "--no-such-flag", cwd=finished, code=2)


def test_help_is_quick_to_import(finished: Path) -> None:
    script = "import domainlm.cli, sys; print([m for m in ('torch', 'numpy', 'transformers', "
    script += "'pyarrow', 'matplotlib') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_two_processes_cannot_share_a_run(finished: Path) -> None:
    import fcntl

    with open(finished / "runs" / "small" / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = domainlm("run", "small.toml", "--offline", cwd=finished, code=1)
    assert "going on in another process" in done.stderr


def test_an_interrupt_stops_without_a_traceback(finished: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        command("run", str(finished / "small.toml"), "--offline"),
        cwd=tmp_path, stderr=subprocess.PIPE, text=True,
        # A shell that starts jobs in the background has them ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    plan = tmp_path / "runs" / "small" / "checkpoints" / "scratch" / "plan.json"
    while process.poll() is None and not plan.is_file():  # libraries, once loaded, let it through
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Traceback" not in stderr
    assert "goes on" in stderr


def wait_for(root: Path, stage: str, process: subprocess.Popen[Any]) -> None:
    """Wait until the run has come to `stage`: the stage before it is whole."""
    before = {
        "corpus": [],
        "tokens": ["corpus/prompts"],
        "training": ["tokens/index", "tokens/stock/index"],
        "evaluation": ["training/continued"],
        "report": ["evaluation/evidence"],
    }[stage]
    while process.poll() is None:
        manifest = root / "manifest.json"
        tasks = read_json(manifest)["tasks"] if manifest.is_file() else {}
        if manifest.is_file() and all(name in tasks for name in before):
            return
        time.sleep(0.02)


def test_kill_9_in_every_stage_then_the_same_result(finished: Path, tmp_path: Path) -> None:
    """Each stage is killed twice at a random moment; the end is as if nothing had happened."""
    rng = random.Random(7)
    root = tmp_path / "runs" / "small"
    arguments = command("run", str(finished / "small.toml"), "--offline")
    killed = 0
    for stage in STAGES:
        for _ in range(2):
            process = subprocess.Popen(
                arguments, cwd=tmp_path, stderr=subprocess.DEVNULL, start_new_session=True
            )
            wait_for(root, stage, process)
            time.sleep(rng.uniform(0, 1.5))
            if process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)
                killed += 1
            process.wait()
    assert killed >= 6
    domainlm("run", str(finished / "small.toml"), "--offline", cwd=tmp_path)
    other = finished / "runs" / "small"
    for arm in ("scratch", "continued"):
        path = f"models/{arm}/model.safetensors"
        assert (root / path).read_bytes() == (other / path).read_bytes(), path
    ours, theirs = (read_json(r / "evaluation" / "evidence.json") for r in (root, other))
    assert without_times(ours) == without_times(theirs)
    domainlm("verify", "runs/small", cwd=tmp_path)


def test_a_model_from_outside_joins_the_evidence(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "copy")
    root = tmp_path / "copy" / "runs" / "small"
    before = read_json(root / "evaluation" / "evidence.json")
    same = "runs/small/models/scratch"
    domainlm("evaluate", same, "--on", "runs/small", "--name", "twin", cwd=tmp_path / "copy")
    found = read_json(root / "evaluation" / "evidence.json")
    bits = {(r["model"], r["split"]): r["bits_per_byte"] for r in found["loss"]}
    for split in ("seen", "unseen"):
        assert bits["twin", split] == bits["scratch", split]
        assert ("twin", "stock") in {(g["a"], g["b"]) for g in found["gaps"]}
    assert found["models"]["twin"]["role"] == "other"
    assert [r for r in found["loss"] if r["model"] != "twin"] == before["loss"]
    assert found["command"] == before["command"]
    assert "twin" in (root / "report" / "index.html").read_text()
    taken = domainlm("evaluate", same, "--on", "runs/small", "--name", "stock", code=2,
                     cwd=tmp_path / "copy")  # fmt: skip
    assert "another model of the run has this name" in taken.stderr
    # A model of a run that held out other text may have been trained on this one's.
    shutil.copytree(root, tmp_path / "other")
    evidence = tmp_path / "other" / "evaluation" / "evidence.json"
    evidence.write_text(evidence.read_text().replace(found["held_out_sha256"], "0" * 64))
    refused = domainlm("evaluate", "other/models/scratch", "--on", str(root), code=1, cwd=tmp_path)
    assert "may have been trained on what it would be measured on" in refused.stderr


def test_an_unmet_gate_is_exit_code_3(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "copy")
    gate = '{gap = "scratch-stock", max = -20.0}'
    done = domainlm("run", "small.toml", "--offline", "--set", f"evaluate.gate=[{gate}]", code=3,
                    cwd=tmp_path / "copy")  # fmt: skip
    assert "gate: scratch-stock on unseen is -" in done.stderr
    assert "asks for at most -20.0" in done.stderr


def test_all_that_can_be_asked_for(finished: Path, tmp_path: Path) -> None:
    """Every part of `also` gives rows, or says why it has none; the default's rows stay."""
    shutil.copytree(finished, tmp_path / "copy")
    root = tmp_path / "copy" / "runs" / "small"
    before = read_json(root / "evaluation" / "evidence.json")
    domainlm("run", "small.toml", "--offline", "--set", 'evaluate.also=["all"]',
             cwd=tmp_path / "copy")  # fmt: skip
    found = read_json(root / "evaluation" / "evidence.json")
    names = ["stock", "scratch", "continued"]
    baselines = ["uniform", "xz", "PPMd", "PPMd primed", "PPMd + last year", "5-gram"]
    assert list(found["models"]) == names + baselines
    bits = {(r["model"], r["split"]): r["bits_per_byte"] for r in found["loss"]}
    for row in before["loss"]:
        assert bits[row["model"], row["split"]] == row["bits_per_byte"]
    assert bits["uniform", "unseen"] == 8
    assert bits["5-gram", "unseen"] < bits["xz", "unseen"]  # it has read the others
    last_year = next(r for r in found["loss"] if r["model"] == "PPMd + last year")
    assert last_year["documents"] > 0
    assert {r["model"] for r in found["general"]} == set(names)
    tasks = {(r["task"], r["scorer"]) for r in found["choices"]}
    assert {("next passage", name) for name in (*names, "BM25", "TF-IDF")} <= tasks
    assert found["retrieval"] or found["notes"]["retrieval"]
    assert {r["model"] for r in found["memorization"]} <= set(names)
    assert found["memorization"] or found["notes"]["memorization"]
    features = {r["features"] for r in found["probe"]}
    assert features >= {"TF-IDF", "majority", *names} or found["probe_note"]
