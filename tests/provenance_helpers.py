"""A finished run made of real files and a real manifest, without training anything."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from domainlm.artifacts import Manifest, Task, outputs_of, write_json
from domainlm.evaluation.evidence import Evidence
from domainlm.evaluation.guests import GUESTS, Guest
from domainlm.report import bom, card, post, provenance, view
from report_examples import example, samples

DECLARED = """
[provenance]
licence = "CC-BY-4.0"
terms = "the archive's access policy"
accessed = "March 2024"
attestation = "own hardware, public data"
attested_by = "A. Person"
model_licence = "apache-2.0"
"""
TRAINING = {
    "optimizer": "muon", "learning_rate": 0.006, "batch_tokens": 8192, "context": 512,
    "precision": "bf16", "seed": 1, "steps": 368, "best_step": 368, "device": "NVIDIA H200",
    "tokens_per_second": 9662.4,
}  # fmt: skip
MEASURED: dict[str, Any] = {
    "memorization": [
        {"model": m, "copies": c, "windows": 400, "groups": 30, "exact": n, "rate": n / 400,
         "ci95": (0.0, 0.05)}
        for m, c, n in (("scratch", "0", 1), ("scratch", "1", 17), ("continued", "1", 0))
    ],
    "extraction": [{"model": "scratch", "difference": 0.04, "ci95": (0.021, 0.062)},
                   {"model": "continued", "difference": 0.0, "ci95": (-0.01, 0.01)}],
    "personal": [{"model": "scratch", "kind": "email", "generations": 24, "found": 3,
                  "in_train": 2}],
    "general": [{"model": m, "source": "Python's documentation", "bits_per_byte": b,
                 "documents": 12, "bytes": 90_000}
                for m, b in (("stock", 0.91), ("scratch", 1.8), ("continued", 0.97))],
    "spreads": [{"models": ["scratch", "again"], "split": "unseen", "mean": 1.17, "sd": 0.0042}],
    "gates": [{"gap": "scratch-stock", "split": "unseen", "max": 0.0, "bits_per_byte": 0.183,
               "met": False},
              {"gap": "continued-stock", "split": "unseen", "max": -0.1, "bits_per_byte": -0.139,
               "met": True}],
}  # fmt: skip


def facts(evidence: Evidence, **changes: Any) -> provenance.Facts:
    """Facts as a GPU's run would have them."""
    arms = view.arms(evidence)
    values: dict[str, Any] = {
        "environment": {"processor": "AMD EPYC", "cores": "16", "system": "Linux-6",
                        "host_sha256": "1f" * 32, "gpu": "NVIDIA H200", "driver": "NVIDIA 570.1"},
        "software": {"domainlm": "0.1.0", "numpy": "2.4.6", "torch": "2.13.0+cpu"},
        "times": {s: ("2026-01-02T03:04:05+00:00", "2026-01-02T04:05:06+00:00")
                  for s in provenance.STAGES},
        "outputs": {"corpus/documents-00000.parquet": "2e" * 32},
        "merkle_root": "3d" * 32, "seal": "4c" * 32,
        "training": {arm: TRAINING for arm in arms},
        "architectures": {arm: "Qwen3ForCausalLM" for arm in arms},
    }  # fmt: skip
    return provenance.Facts(**(values | changes))


def nothing(root: Path, arguments: dict[str, Any]) -> None:
    """The function of the tasks recorded here."""


def record(manifest: Manifest, name: str, files: Mapping[str, bytes | str], ended: str) -> None:
    """Write files and note them in the manifest as outputs of the task `name`."""
    for path, content in files.items():
        target = manifest.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
    arguments = {"folder": str(manifest.root.parent)}
    task = Task(name, nothing, arguments, (), tuple(files))
    manifest.record(task, outputs_of(manifest.root, task, None), 2.5)
    manifest.tasks[name]["ended"] = ended
    manifest.save()


def finished_run(root: Path, **changes: Any) -> Evidence:
    """A run directory with all stages; returns its evidence."""
    root.mkdir(parents=True)
    manifest = Manifest(root)
    manifest.data["environment"] = {"processor": "AMD EPYC", "cores": "2"}
    manifest.data["software"] = {"domainlm": "0.1.0", "torch": "2.13.0+cpu"}
    record(manifest, "corpus/write-00000", {"corpus/documents-00000.parquet": b"PAR1 secret text"},
           "2026-01-02T03:04:05+00:00")  # fmt: skip
    record(manifest, "corpus/ledger", {"corpus/ledger.json": "{}"}, "2026-01-02T03:04:09+00:00")
    record(manifest, "tokens/encode-00000", {"tokens/train-00000.bin": b"\x01\x00\x02\x00"},
           "2026-01-02T03:05:00+00:00")  # fmt: skip
    for arm in ("scratch", "continued"):
        folder = f"models/{arm}"
        files = {f"{folder}/model.safetensors": b"weights of " + arm.encode() * 99,
                 f"{folder}/config.json": '{"architectures": ["Qwen3ForCausalLM"]}',
                 f"{folder}/training.json": '{"device": "NVIDIA H200", "optimizer": "muon"}',
                 f"{folder}/tokenizer.json": "{}"}  # fmt: skip
        record(manifest, f"training/{arm}", files, "2026-01-02T04:00:00+00:00")
    found = example(**MEASURED, **changes)
    merkle = manifest.merkle_root(("corpus", "tokens", "training"))
    corpus = found.corpus.model_copy(update={"merkle_root": merkle})
    found = found.model_copy(update={"corpus": corpus})
    (root / "recipe.toml").write_bytes(found.recipe.encode())
    guests = [Guest(n, m.source, m.title, m.sha256 or "", tuple(m.notes))
              for n, m in found.models.items() if m.role == "other"]  # fmt: skip
    if guests:
        write_json(root / GUESTS, [dataclasses.asdict(guest) for guest in guests])
    lines = "\n".join(row.model_dump_json() for row in samples(found))
    record(manifest, "evaluation/evidence",
           {"evaluation/evidence.json": found.model_dump_json(indent=1),
            "evaluation/samples.jsonl": lines,
            "evaluation/documents.parquet": b"PAR1 names of documents"},
           "2026-01-02T04:30:00+00:00")  # fmt: skip
    report(root, found)
    return found


def report(root: Path, evidence: Evidence) -> None:
    """What the stage `report` writes of words and provenance; the page and picture are stand-ins
    of other rooms, taken here as bytes alone."""
    told = provenance.gather(root, evidence)
    files: dict[str, bytes | str] = {
        "report/index.html": "<!doctype html>",
        "report/headline.png": b"\x89PNG",
        "report/post.md": post.post(evidence),
        "report/provenance.md": provenance.markdown(evidence, told),
        "report/bom.cdx.json": json.dumps(bom.bill(evidence, told), indent=1),
    }
    for arm in view.arms(evidence):
        files[f"models/{arm}/README.md"] = card.card(evidence, arm, told.training.get(arm))
    record(Manifest(root), "report/page", files, "2026-01-02T04:31:00+00:00")
