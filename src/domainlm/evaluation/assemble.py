"""From the parts that tasks wrote to `evidence.json`, `documents.parquet` and `samples.jsonl`."""

import os
import platform
import tomllib
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from itertools import combinations
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from domainlm.artifacts import read_json, sha256_file, write_json
from domainlm.evaluation import (
    baselines,
    copies,
    deep,
    evidence,
    features,
    probe,
    quality,
    statistics,
    tables,
)
from domainlm.evaluation.deep import PARTS, SPANS
from domainlm.evaluation.spans import Span, held_out_sha256, read_spans
from domainlm.evaluation.tables import SEED, read_lines, write_documents, write_lines
from domainlm.recipe import Gate, Recipe, validate

PASSAGES = f"{PARTS}/passages.json"
PRIMER = f"{PARTS}/primer.txt"
PROMPTS = "corpus/prompts.json"
CURVE_POINTS = 300
SEEDS = (1, 2, 3)  # of the samples


def sample_row(
    prompt: Mapping[str, Any], model: str, seed: int, text: str, sha256: str
) -> dict[str, Any]:
    """One line of `samples.jsonl`, what was copied apart."""
    return evidence.Sample(
        prompt_id=prompt["id"],
        prompt=prompt["text"],
        source=prompt["source"],
        model=model,
        seed=seed,
        text=text,
        true_text=prompt.get("true_text"),
        model_sha256=sha256,
    ).model_dump()


def gather(root: Path, arguments: dict[str, Any]) -> Mapping[str, int]:
    """Task: gather all parts, compute every interval, write the three files of evidence."""
    recipe = validate(tomllib.loads(arguments["recipe"]), "recipe.toml")
    spans = read_spans(root / SPANS)
    arms, stock = arguments["arms"], arguments["stock"]
    guests = [guest["name"] for guest in arguments["guests"]]
    networks = [*(["stock"] if stock else []), *arms, *guests]
    training = {arm: read_json(root / "models" / arm / "training.json") for arm in arms}
    rows = _documents(root, networks, arguments["baselines"])
    windows, passed = (
        [row for name in networks for row in _parquet(root / f"{PARTS}/{name}.{end}.parquet")]
        for end in ("windows", "snapshots")
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
    index = read_json(root / "tokens/index.json")
    train = index["splits"]["train"]
    tokenizer = {
        "vocabulary": index["vocabulary"],
        "bytes_per_token": train["bytes"] / max(1, train["tokens"]),
        "train_tokens": train["tokens"],
    }
    found = evidence.Evidence(
        name=recipe.name,
        notices=_notices(recipe, arguments, spans),
        held_out_sha256=held_out_sha256(spans),
        models=_models(root, arguments, training, present),
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
        cost=[_cost(recipe, arm, facts) for arm, facts in training.items()],
        curves=[point for arm in arms for point in _curve(root, arm)],
        samples=evidence.Samples(
            path="evaluation/samples.jsonl",
            prompts_sha256=sha256_file(root / PROMPTS),
            tokens=recipe.evaluate.generate,
            temperature=recipe.evaluate.temperature,
            seeds=list(SEEDS),
        ),
        corpus=evidence.Corpus(
            **read_json(root / "corpus/ledger.json")["evidence"],
            tokenizer=tokenizer,
            merkle_root=arguments["merkle_root"],
        ),
        recipe=arguments["recipe"],
        environment=_environment(training),
        command=arguments["command"],
    )
    counts = {
        "evaluation/documents.parquet": write_documents(
            root / "evaluation/documents.parquet", rows
        ),
        "evaluation/windows.parquet": write_documents(root / "evaluation/windows.parquet", windows),
        "evaluation/snapshots.parquet": write_documents(
            root / "evaluation/snapshots.parquet", passed
        ),
        "evaluation/samples.jsonl": write_lines(root / "evaluation/samples.jsonl", samples),
        "evaluation/surprisal.jsonl": write_lines(root / "evaluation/surprisal.jsonl", readings),
    }
    write_json(root / "evaluation/evidence.json", found.model_dump(mode="json"))
    return counts


def _cost(recipe: Recipe, arm: str, facts: Mapping[str, Any]) -> evidence.Cost:
    """What training took, with energy declared where not metered, and the recipe's prices."""
    seconds = facts["seconds"]
    kwh, method = recipe.cost.energy(seconds, facts["kwh"], facts["kwh_method"])
    return evidence.Cost(
        model=arm,
        **{f: facts[f] for f in ("tokens", "epochs", "flops")},
        seconds=seconds,
        kwh=kwh,
        kwh_method=method,
        money=recipe.cost.money(seconds, kwh),
        currency=recipe.cost.currency,
    )


def _documents(root: Path, networks: Sequence[str], parts: Sequence[str]) -> list[dict[str, Any]]:
    """All rows, models in the order of the report, each model's in the order of the spans."""
    paths = (*(f"{PARTS}/{name}.losses.parquet" for name in networks), *parts)
    rows = [row for path in paths for row in _parquet(root / path)]
    rank = {name: place for place, name in enumerate((*networks, *baselines.TITLES))}
    return sorted(rows, key=lambda row: rank[row["model"]])


def _parquet(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows


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


def _models(
    root: Path,
    arguments: Mapping[str, Any],
    training: Mapping[str, Mapping[str, Any]],
    present: Sequence[str],
) -> dict[str, evidence.Model]:
    stock = arguments["stock"]
    models = {}
    if stock:
        facts = read_json(root / f"{PARTS}/stock.model.json")
        models["stock"] = evidence.Model(
            role="stock", title=stock["title"], source=stock["name"], notes=stock["notes"], **facts
        )
    for arm, facts in training.items():
        kind = read_json(root / "models" / arm / "config.json")["model_type"]
        title = f"{kind} architecture, {facts['parameters'] / 1e6:.1f}M parameters"
        if facts["role"] == "continued":
            title = f"{stock['title'] if stock else 'a pretrained model'}, trained on"
        models[arm] = evidence.Model(
            role=facts["role"],
            title=title,
            source=f"models/{arm}",
            **read_json(root / f"{PARTS}/{arm}.model.json"),
        )
    for guest in arguments["guests"]:
        about = {key: guest[key] for key in ("title", "source", "notes")}
        facts = read_json(root / f"{PARTS}/{guest['name']}.model.json")
        models[guest["name"]] = evidence.Model(role="other", **about, **facts)
    packages = {"xz": "lzma (Python)", "uniform": "none", baselines.NGRAM: "DomainLM"}
    for name in present:
        package = packages.get(name, "pyppmd")
        models[name] = evidence.Model(role="baseline", title=baselines.TITLES[name], source=package)
    return models


def _curve(root: Path, arm: str) -> list[evidence.CurvePoint]:
    """An arm's training, thinned; points with a validation loss are all kept."""
    rows = [r for r in read_lines(root / "models" / arm / "training.jsonl") if "step" in r]
    every = max(1, len(rows) // CURVE_POINTS)
    fields = ("step", "tokens", "seconds", "loss", "validation_bits_per_byte")
    return [
        evidence.CurvePoint.model_validate({"model": arm, **{f: row.get(f) for f in fields}})
        for place, row in enumerate(rows)
        if row.get("loss") is not None
        and (place % every == 0 or row.get("validation_bits_per_byte") is not None)
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
    states = ((name, features.read(root / path)) for name, path in paths.items())
    known = ((name, values) for name, values in states if values.layers)
    note = found["note"]
    if "MiniLM" in controls and not features.read(root / controls["MiniLM"]).layers:
        note += f" MiniLM is not installed and was left out: {features.MINILM_INSTALL}"
    return probe.measure(passages, known, SEED, deeper), note.strip()


def _notices(recipe: Recipe, arguments: Mapping[str, Any], spans: Sequence[Span]) -> list[str]:
    """What a reader must know before any number."""
    notices = []
    if recipe.invented:
        notices.append("The companies are invented: these figures say nothing about real filings.")
    if not arguments["stock"]:
        notices.append(
            "No stock model could be had (tried: "
            + (", ".join(recipe.evaluate.stock) or "none")
            + "): the compressors are the only yardstick."
        )
    for arm in arguments["skipped"]:
        notices.append(f"{arm} was not trained: it starts from the stock model, which is missing.")
    groups: dict[str, set[str]] = {}
    for span in spans:
        groups.setdefault(span.split, set()).add(span.group)
    if "validation" in groups:
        notices.append(
            "Nothing is held out: the figures are of validation text, which decided when training "
            "stopped. They flatter the models trained here."
        )
    elif "unseen" not in groups:
        notices.append(
            "No held-out text of groups never trained on: nothing here says how the models do on "
            "text by somebody new."
        )
    few = [
        f"{len(n)} in {s}: about {statistics.coverage(len(n)):.0%}"
        for s, n in groups.items()
        if len(n) < statistics.FEW_GROUPS
    ]
    if few:
        notices.append(
            f"Few independent groups were scored. Of intervals called 95 % this share would hold "
            f"the truth: {'; '.join(few)}."
        )
    return notices


def _environment(training: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Machine and versions, for the reader; no times and no paths."""
    found = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": str(os.cpu_count()),
    }
    devices = sorted({str(t["device"]) for t in training.values() if t.get("device")})
    if devices:
        found["device"] = ", ".join(devices)
    for package in ("domainlm", "torch", "transformers", "tokenizers", "numpy", "scikit-learn"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # run from a source tree
            continue
    return found
