"""The evidence as the report looks at it: cleaned text, and who is compared on what.

Names, titles and generations come from corpora and models, so they are untrusted: `tidy` runs
once over everything before anything is drawn, and each output format escapes what is left.
"""

import dataclasses
import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from domainlm.console import clean
from domainlm.evaluation.evidence import (
    Cost,
    CurvePoint,
    Evidence,
    Gap,
    Interval,
    Loss,
    Probe,
    Reading,
    Sample,
    SliceGap,
)

SPLITS = ("unseen", "seen")  # in order of what they prove
ARMS = ("scratch", "continued")


def one_line(text: str) -> str:
    """`text` with every run of white space made one space."""
    return " ".join(text.split())


def _tidy(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {_tidy(k): _tidy(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_tidy(v) for v in value]
    return value


def tidy(evidence: Evidence) -> Evidence:
    """The evidence with every string cleaned; nobody can have read invented text before."""
    values = _tidy(evidence.model_dump())
    for model in values["models"].values() if invented(evidence) else ():
        model["notes"] = [note.partition(": it may have read")[0] for note in model["notes"]]
    return Evidence.model_validate(values)


def invented(evidence: Evidence) -> bool:
    """True where the corpus is the fictional one that comes with the package."""
    source = _recipe(evidence).get("source")
    return isinstance(source, dict) and str(source.get("path")).startswith("sample:edgar")


def read_samples(path: Path) -> list[Sample]:
    """The cleaned rows of `samples.jsonl`, in file order."""
    with open(path, encoding="utf-8") as file:
        return [Sample.model_validate(_tidy(json.loads(line))) for line in file if line.strip()]


def read_readings(path: Path) -> list[Reading]:
    """The rows of `surprisal.jsonl`, in file order; none where an older run has no such file.

    They are not cleaned, since their `ends` count characters: who shows a piece cleans it.
    """
    if not path.is_file():
        return []
    with open(path, encoding="utf-8") as file:
        return [Reading.model_validate_json(line) for line in file if line.strip()]


@dataclasses.dataclass(frozen=True)
class Prompt:
    """An opening, what every model made of it, and what the document really says."""

    prompt: str
    source: str
    true_text: str | None
    answers: list[Sample]  # in the order of the models, then by seed
    prompt_id: str = ""

    @property
    def seeds(self) -> list[int]:
        """The seeds of its answers."""
        return sorted({answer.seed for answer in self.answers})

    def of_seed(self, seed: int) -> list[Sample]:
        """One answer a model."""
        return [answer for answer in self.answers if answer.seed == seed]


def origin(source: str) -> str:
    """Where an opening comes from, for people."""
    return "a stock phrase of filings, written for this test" if source == "classic" else source


def prompts(evidence: Evidence, samples: Sequence[Sample]) -> list[Prompt]:
    """Samples by opening, in the order of the file: that order was fixed before training."""
    order = {name: i for i, name in enumerate(["stock", *arms(evidence)])}
    found: dict[str, list[Sample]] = {}
    for sample in samples:
        found.setdefault(sample.prompt_id, []).append(sample)
    return [
        Prompt(
            rows[0].prompt,
            origin(rows[0].source),
            next((r.true_text for r in rows if r.true_text), None),
            sorted(rows, key=lambda r: (order.get(r.model, len(order)), r.model, r.seed)),
            prompt_id,
        )
        for prompt_id, rows in found.items()
    ]


@dataclasses.dataclass(frozen=True)
class Nouns:
    """What groups and documents are called in this corpus."""

    group: str = "group"
    groups: str = "groups"
    document: str = "document"
    documents: str = "documents"
    corpus: str = "these documents"


def _recipe(evidence: Evidence) -> dict[str, Any]:
    try:
        return tomllib.loads(evidence.recipe)
    except tomllib.TOMLDecodeError:
        return {}


def nouns(evidence: Evidence) -> Nouns:
    """Companies and filings where the source is EDGAR, else groups and documents."""
    source = _recipe(evidence).get("source")
    if not isinstance(source, dict) or source.get("kind") != "edgar":
        return Nouns()
    forms = source.get("forms") or []
    only_10k = bool(forms) and all(str(form).startswith("10-K") for form in forms)
    corpus = "these 10-Ks" if only_10k else "these filings"
    return Nouns("company", "companies", "filing", "filings", corpus)


def from_stock(evidence: Evidence, arm: str) -> bool:
    """True where the arm began as the stock model itself."""
    tables = _recipe(evidence).get("train")
    return isinstance(tables, list) and any(
        t.get("name") == arm and t.get("init") == "stock" for t in tables if isinstance(t, dict)
    )


def splits(evidence: Evidence) -> list[str]:
    """The splits that were scored: unseen, seen, then others."""
    present = list(dict.fromkeys(row.split for row in evidence.loss))
    return sorted(present, key=lambda s: SPLITS.index(s) if s in SPLITS else len(SPLITS))


def main_split(evidence: Evidence) -> str | None:
    """The split of the headline: `unseen`, else `seen`, else what there is."""
    return next(iter(splits(evidence)), None)


def losses(evidence: Evidence, split: str | None) -> list[Loss]:
    """The losses on `split`, best first; last those of a part of its documents alone."""
    rows = (r for r in evidence.loss if r.split == split)
    return sorted(rows, key=lambda r: (bool(part(evidence, r)), r.bits_per_byte))


def part(evidence: Evidence, row: Loss | Gap) -> str:
    """`27 of 32 filings` where a figure is not of every document of its split, else nothing."""
    most = max((r.documents for r in evidence.loss if r.split == row.split), default=0)
    if row.documents in (0, most):  # 0: an older gap, which does not say
        return ""
    return f"{row.documents:,} of {most:,} {nouns(evidence).documents}"


def base(evidence: Evidence, gap: Gap) -> float | None:
    """Bits per byte of the gap's second model on the documents of the pair; None: not known."""
    first, second = (loss(evidence, name, gap.split) for name in (gap.a, gap.b))
    if first is None or second is None:
        return None
    documents = gap.documents or min(first.documents, second.documents)
    if second.documents == documents:
        return second.bits_per_byte
    return first.bits_per_byte - gap.bits_per_byte if first.documents == documents else None


def loss(evidence: Evidence, model: str, split: str | None) -> Loss | None:
    """The loss of one model on `split`."""
    return next((r for r in losses(evidence, split) if r.model == model), None)


def gap(evidence: Evidence, a: str, b: str, split: str | None) -> Gap | None:
    """The paired gap a - b on `split`, turned round where it is stored as b - a.

    A turned gap keeps the `wins` of b, which is then the one ahead: groups also tie.
    """
    for row in evidence.gaps:
        if row.split == split and (row.a, row.b) == (a, b):
            return row
        if row.split == split and (row.a, row.b) == (b, a):
            turned = {"a": a, "b": b, "bits_per_byte": -row.bits_per_byte}
            return row.model_copy(update={**turned, "ci95": _turned(row.ci95)})
    return None


def _turned(ci95: Interval | None) -> Interval | None:
    return (-ci95[1], -ci95[0]) if ci95 else None


def arms(evidence: Evidence) -> list[str]:
    """The models that this run trained, best first: on validation text where all have a loss there.

    Of held-out text the best of several would be chosen on what it is then judged by.
    """
    names = [name for name, model in evidence.models.items() if model.role in ARMS]
    if validated(evidence):
        return sorted(names, key=lambda n: min(bits for _, bits in validation(evidence, n)))
    ranked = [r.model for r in losses(evidence, main_split(evidence))]
    return sorted(names, key=lambda n: ranked.index(n) if n in ranked else len(ranked))


def validated(evidence: Evidence) -> bool:
    """True where every model that the run trained has a validation loss."""
    known = {p.model for p in evidence.curves if p.validation_bits_per_byte is not None}
    return all(name in known for name, m in evidence.models.items() if m.role in ARMS)


def has_stock(evidence: Evidence) -> bool:
    """True where the stock model was scored on the headline split."""
    return loss(evidence, "stock", main_split(evidence)) is not None


def best_baseline(evidence: Evidence) -> Loss | None:
    """The best baseline on the headline split."""
    return next(iter(best_baselines(evidence, main_split(evidence))), None)


def best_baselines(evidence: Evidence, split: str | None) -> list[Loss]:
    """The baselines on `split`, best first, of those that every document was given to."""
    baselines = {name for name, model in evidence.models.items() if model.role == "baseline"}
    rows = losses(evidence, split)
    return [row for row in rows if row.model in baselines and not part(evidence, row)]


def cost(evidence: Evidence, model: str) -> Cost | None:
    """What training `model` took."""
    return next((row for row in evidence.cost if row.model == model), None)


def validation(evidence: Evidence, model: str) -> list[tuple[CurvePoint, float]]:
    """The points of an arm's training that have a validation loss, with its bits per byte."""
    return [
        (point, point.validation_bits_per_byte)
        for point in evidence.curves
        if point.model == model and point.validation_bits_per_byte is not None
    ]


def pair(evidence: Evidence) -> tuple[str, str] | None:
    """Whose slices are shown: the best arm against the stock model, else the first pair."""
    found = [(row.a, row.b) for row in evidence.slice_gaps]
    wanted = [(arm, "stock") for arm in arms(evidence)]
    return next((p for p in wanted if p in found), found[0] if found else None)


def slice_gaps(evidence: Evidence) -> dict[str, list[SliceGap]]:
    """The gaps of `pair` on the first split that has any, by what the slices are cut by."""
    rows = [row for row in evidence.slice_gaps if (row.a, row.b) == pair(evidence)]
    split = next((s for s in splits(evidence) if any(row.split == s for row in rows)), None)
    found: dict[str, list[SliceGap]] = {}
    for row in rows:
        if row.split == split:
            found.setdefault(row.by, []).append(row)
    return {by: part for by, part in found.items() if len(part) > 1}  # one says nothing new


def probes(evidence: Evidence) -> dict[str, dict[str, list[Probe]]]:
    """Task -> features -> rows by labels a class; the bag of words first, then the best first."""
    found: dict[str, dict[str, list[Probe]]] = {}
    for row in sorted(evidence.probe, key=lambda r: r.labels_per_class):
        found.setdefault(row.task, {}).setdefault(row.features, []).append(row)
    return {
        task: dict(sorted(by.items(), key=lambda e: (e[0] != "TF-IDF", -e[1][-1].accuracy)))
        for task, by in found.items()
    }


def label(evidence: Evidence, name: str) -> str:
    """A model's name for people: its title, led by the arm's name where that says more."""
    model = evidence.models.get(name)
    if model is None:
        return one_line(name)
    title = one_line(model.title) or name
    known = model.role not in ARMS or name.lower() in title.lower()
    return title if known else f"{name}: {title}"


def brief(evidence: Evidence, name: str) -> str:
    """A few letters for a picture: the name of an arm or a baseline, of others half the title."""
    model = evidence.models.get(name)
    if model is None or model.role in (*ARMS, "baseline"):
        return one_line(name)
    return (one_line(model.title) or name).split(" (")[0].split(",")[0]


def short_label(evidence: Evidence, name: str) -> str:
    """What a model is called everywhere but in the table of who was measured."""
    return "stock" if name == "stock" else brief(evidence, name)
