"""The stage `report`: one task, from the evidence to everything that people look at."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from domainlm.artifacts import Run, Task, atomic_write
from domainlm.evaluation.evidence import load
from domainlm.report import headline, page, post, view

EVIDENCE = "evaluation/evidence.json"
SAMPLES = "evaluation/samples.jsonl"


def waves(run: Run) -> Iterator[list[Task]]:
    """One task: it takes seconds, so there is nothing to gain from splitting it."""
    trained = (arm.name for arm in run.recipe.train)  # an arm without its stock model was not
    arms = [name for name in trained if (run.root / "models" / name / "config.json").is_file()]
    yield [
        Task(
            name="report/page",
            function=write_report,
            arguments={"arms": arms},
            inputs=(EVIDENCE, SAMPLES),
            outputs=(
                "report/index.html",
                "report/headline.png",
                "report/post.md",
                *(f"models/{arm}/README.md" for arm in arms),
            ),
        )
    ]


def write_report(root: Path, arguments: dict[str, Any]) -> None:
    """Write page, picture, post and a card for each of `arguments["arms"]`."""
    evidence, samples = view.tidy(load(root)), view.read_samples(root / SAMPLES)
    picture = headline.render(evidence, samples)
    texts = {
        "report/index.html": page.render(evidence, samples, picture),
        "report/post.md": post.post(evidence),
    }
    texts |= {f"models/{arm}/README.md": post.card(evidence, arm) for arm in arguments["arms"]}
    with atomic_write(root / "report/headline.png") as file:
        file.write(picture)
    for path, text in texts.items():
        with atomic_write(root / path, "w") as file:
            file.write(text)
