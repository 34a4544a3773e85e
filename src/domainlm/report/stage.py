"""The stage `report`: one task, from the evidence to everything that people look at."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from domainlm.artifacts import Run, Task, atomic_write, write_json
from domainlm.evaluation.evidence import load
from domainlm.report import bom, card, headline, page, post, provenance, view

EVIDENCE = "evaluation/evidence.json"
SAMPLES = "evaluation/samples.jsonl"
READINGS = "evaluation/surprisal.jsonl"  # which an older run has not
PICTURES = {
    "report/headline.png": headline.WIDE,
    "report/headline-1200x628.png": headline.CARD_SIZE,
}


def waves(run: Run) -> Iterator[list[Task]]:
    """One task: it takes seconds, so there is nothing to gain from splitting it."""
    trained = (arm.name for arm in run.recipe.train)  # an arm without its stock model was not
    arms = [name for name in trained if (run.root / "models" / name / "config.json").is_file()]
    yield [
        Task(
            name="report/page",
            function=write_report,
            arguments={"arms": arms, "records": provenance.seal(run.manifest)},
            inputs=(EVIDENCE, SAMPLES, *([READINGS] if (run.root / READINGS).is_file() else [])),
            outputs=(
                "report/index.html",
                *PICTURES,
                "report/post.md",
                "report/provenance.md",
                "report/bom.cdx.json",
                *(f"models/{arm}/README.md" for arm in arms),
            ),
        )
    ]


def write_report(root: Path, arguments: dict[str, Any]) -> None:
    """Write page, pictures, post and a card for each of `arguments["arms"]`."""
    evidence, samples = view.tidy(load(root)), view.read_samples(root / SAMPLES)
    readings = view.read_readings(root / READINGS)
    pictures = {path: headline.render(evidence, samples, how) for path, how in PICTURES.items()}
    first = next(iter(pictures.values()))
    texts = {
        "report/index.html": page.render(evidence, samples, first, readings),
        "report/post.md": post.post(evidence, samples),
    }
    facts = provenance.gather(root, evidence)
    texts["report/provenance.md"] = provenance.markdown(evidence, facts)
    for arm in arguments["arms"]:
        texts[f"models/{arm}/README.md"] = card.card(evidence, arm, facts.training.get(arm))
    write_json(root / "report/bom.cdx.json", bom.bill(evidence, facts))
    for path, picture in pictures.items():
        with atomic_write(root / path) as file:
            file.write(picture)
    for path, text in texts.items():
        with atomic_write(root / path, "w") as file:
            file.write(text)
