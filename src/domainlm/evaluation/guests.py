"""Models from outside that are measured on a run's held-out text: `evaluation/guests.json`."""

import dataclasses
import re
from pathlib import Path

from domainlm.artifacts import read_json, write_json
from domainlm.errors import DomainLMError
from domainlm.pretrained import Pretrained

GUESTS = "evaluation/guests.json"
EVIDENCE = "evaluation/evidence.json"
UNKNOWN = "whether it has read the held-out text is not known"


@dataclasses.dataclass(frozen=True)
class Guest:
    """A model under the `name` that the evidence calls it by; `source` finds it again."""

    name: str
    source: str
    title: str
    sha256: str
    notes: tuple[str, ...] = ()


def read(root: Path) -> list[Guest]:
    """The guests of a run, in the order in which they came."""
    path = root / GUESTS
    rows = read_json(path) if path.is_file() else []
    return [Guest(**{**row, "notes": tuple(row["notes"])}) for row in rows]


def add(root: Path, model: Pretrained, name: str | None, taken: set[str]) -> Guest:
    """Put a model on a run's list, in place of an earlier one of this name.

    Its notes say so where it is not known whether it has read the held-out text. `taken` are names
    that other models have. Raises `DomainLMError` where the name is one of these, or where the
    model's own run held out other text.
    """
    notes = model.notes if _same_held_out(root, model) else (*model.notes, UNKNOWN)
    name = name or re.sub(r"[^\w.-]+", "-", Path(model.name).stem.strip("-")) or "guest"
    if name in taken or not re.fullmatch(r"[\w.-]+", name):
        raise DomainLMError(
            f"the model cannot be called {name!r}",
            why="another model of the run has this name"
            if name in taken
            else "a name is letters, digits, dots, dashes and underscores",
            fix="give another: --name NAME",
            exit_code=2,
        )
    title = model.title if model.title.startswith(name) else f"{name}: {model.title}"
    guest = Guest(name, model.name, title, model.sha256, notes)
    others = [row for row in read(root) if row.name != name]
    write_json(root / GUESTS, [dataclasses.asdict(row) for row in (*others, guest)])
    return guest


def _same_held_out(root: Path, model: Pretrained) -> bool:
    """Whether the model lies in a run that held out the same text; False where it lies in none.

    Raises `DomainLMError` where its run held out other text: it may have read this one's.
    """
    other = model.path.resolve().parent.parent / EVIDENCE
    if not other.is_file():
        return False
    here, there = (read_json(path)["held_out_sha256"] for path in (root / EVIDENCE, other))
    if here != there:
        raise DomainLMError(
            "the model is of a run that held out other text",
            where=str(model.path),
            why=f"held-out text {there[:12]} there, {here[:12]} here: it may have been trained on "
            "what it would be measured on",
            fix="train it with the same [source], [split] and [evaluate] as this run",
        )
    return True
