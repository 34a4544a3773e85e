"""Quality by cost: an arm's held-out bits per byte along its training, and where it passes stock.

Snapshots lie at halves, quarters ... of the steps. Of a schedule with a decay at the end they are
worse than a training that was planned to end there: the line is what this training passed through.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from domainlm.evaluation import evidence, statistics, tables
from domainlm.recipe import Recipe


def facts(path: Path) -> dict[str, Any]:
    """Step, tokens, seconds and kWh (or null) of a snapshot, from the head of its file."""
    with open(path, "rb") as file:
        head = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    found: dict[str, Any] = json.loads(head["__metadata__"]["facts"])
    return found


def load(model: Any, path: Path) -> None:
    """Give `model` the weights of a snapshot; a tied matrix is in it once."""
    from safetensors.torch import load_file

    missing = model.load_state_dict(load_file(path), strict=False)
    named = {name for name, _ in model.named_parameters()}
    if missing.unexpected_keys or named & set(missing.missing_keys):
        raise ValueError(f"{path} has not the weights of this model")


def points(
    root: Path,
    recipe: Recipe,
    training: Mapping[str, Mapping[str, Any]],
    passed: tables.Rows,
    rows: tables.Rows,
) -> Iterator[evidence.Quality]:
    """Each arm's snapshots and its last weights, on the documents that its snapshots read."""
    read = {(row["split"], row["document"]) for row in passed}
    for arm in (arm for arm in recipe.train if arm.name in training and arm.snapshots):
        whole = training[arm.name]
        folder = root / "models" / arm.name / "snapshots"
        paths = [folder / f"{place + 1}.safetensors" for place in range(arm.snapshots)]
        steps = {found["step"]: found for found in map(facts, paths)}
        last = {key: whole[key] for key in ("tokens", "seconds", "kwh")} | {"step": whole["steps"]}
        mine = [row for row in passed if row["model"] == arm.name]
        mine += [
            dict(row) | {"step": whole["steps"]}
            for row in rows
            if row["model"] == arm.name and (row["split"], row["document"]) in read
        ]
        for step, spent in sorted({**steps, whole["steps"]: last}.items()):
            cost = {
                "flops": spent["tokens"] * whole["flops"] / whole["tokens"],
                "money": recipe.cost.money(spent["seconds"], spent["kwh"]),
            }
            at = [row for row in mine if row["step"] == step]
            for split, by in tables.by_split(at).items():
                measured = tables.measured(by[arm.name])
                yield evidence.Quality(model=arm.name, split=split, **spent, **cost, **measured)


def levels(points: Sequence[evidence.Quality], rows: tables.Rows) -> dict[str, float]:
    """The stock model's bits per byte on the same documents: the first of each split."""
    count = {point.split: point.documents for point in points}
    stock = [row for row in rows if row["model"] == "stock"]
    return {
        split: statistics.bits_per_byte(
            [row["nats"] for row in by["stock"][: count[split]]],
            [row["bytes"] for row in by["stock"][: count[split]]],
        )
        for split, by in tables.by_split(stock).items()
        if split in count
    }


def crossings(
    points: Sequence[evidence.Quality], stock: Mapping[str, float]
) -> Iterator[evidence.Crossing]:
    """Where each model's line falls below the stock model's bits per byte, by split.

    Between two points bits are linear in the logarithm of the cost.
    """
    for model in dict.fromkeys(p.model for p in points):
        for split, level in stock.items():
            line = [p for p in points if (p.model, p.split) == (model, split)]
            for by in ("flops", "seconds", "kwh", "money"):
                costs = [getattr(p, by) for p in line]
                if not line or None in costs or min(costs) <= 0:
                    continue
                at = _below([math.log(c) for c in costs], [p.bits_per_byte for p in line], level)
                yield evidence.Crossing(
                    model=model, split=split, by=by, level=level,
                    at=None if at is None else math.exp(at), budget=costs[-1],
                )  # fmt: skip


def _below(costs: Sequence[float], bits: Sequence[float], level: float) -> float | None:
    """The first place of a line at or under `level`; None where it ends above."""
    if bits[0] <= level:
        return costs[0]
    for place in range(1, len(bits)):
        if bits[place] <= level:
            pair = slice(place - 1, place + 1)
            return float(np.interp(-level, [-b for b in bits[pair]], costs[pair]))
    return None
