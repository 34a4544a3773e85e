"""From the parts that tasks wrote to `evidence.json`, `documents.parquet` and `samples.jsonl`."""

import json
import os
import platform
import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from domainlm.artifacts import atomic_write, read_json, sha256_file, write_json
from domainlm.evaluation import baselines, evidence, probe, statistics
from domainlm.evaluation.spans import Span, held_out_sha256, read_spans
from domainlm.recipe import Recipe, validate

PARTS = "evaluation/parts"
SPANS = f"{PARTS}/spans.parquet"
PASSAGES = f"{PARTS}/passages.json"
PRIMER = f"{PARTS}/primer.txt"
PROMPTS = "corpus/prompts.json"
SEED = 1
CURVE_POINTS = 300
SLICE_DOCUMENTS = 5  # fewer make no slice
FEW_GROUPS = 40  # below, the percentile bootstrap covers less than 93 %

SCHEMA = pa.schema(
    [
        ("model", pa.string()),
        ("split", pa.string()),
        ("document", pa.string()),
        ("group", pa.string()),
        ("section", pa.string()),
        ("bytes", pa.int64()),
        ("tokens", pa.int64()),
        ("nats", pa.float64()),
    ]
)


def document_row(model: str, span: Span, tokens: int | None, nats: float) -> dict[str, Any]:
    """One row of `documents.parquet`; a compressor has no tokens."""
    place = {f: getattr(span, f) for f in ("split", "document", "group", "section")}
    return {"model": model, **place, "bytes": span.bytes, "tokens": tokens, "nats": nats}


def write_documents(path: Path, rows: Sequence[Mapping[str, Any]]) -> int:
    """Write rows of `SCHEMA` as Parquet, atomically; returns their number."""
    with atomic_write(path) as file:
        pq.write_table(pa.Table.from_pylist(list(rows), schema=SCHEMA), file, compression="zstd")
    return len(rows)


def sample_row(prompt: Mapping[str, Any], model: str, text: str, sha256: str) -> dict[str, Any]:
    """One line of `samples.jsonl`."""
    return evidence.Sample(
        prompt_id=prompt["id"],
        prompt=prompt["text"],
        source=prompt["source"],
        model=model,
        seed=SEED,
        text=text,
        true_text=prompt.get("true_text"),
        model_sha256=sha256,
    ).model_dump()


def write_lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> int:
    """Write JSON Lines, atomically; returns their number."""
    with atomic_write(path, "w") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return len(rows)


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Objects of a JSON Lines file."""
    with open(path, encoding="utf-8") as file:
        for line in file:
            if line.strip():
                yield json.loads(line)


def gather(root: Path, arguments: dict[str, Any]) -> Mapping[str, int]:
    """Task: gather all parts, compute every interval, write the three files of evidence."""
    recipe = validate(tomllib.loads(arguments["recipe"]), "recipe.toml")
    spans = read_spans(root / SPANS)
    arms, stock = arguments["arms"], arguments["stock"]
    networks = [*(["stock"] if stock else []), *arms]
    training = {arm: read_json(root / "models" / arm / "training.json") for arm in arms}
    rows = _documents(root, networks, arguments["baselines"])
    table: dict[str, dict[str, list[dict[str, Any]]]] = {}  # split -> model -> rows
    for row in rows:
        table.setdefault(row["split"], {}).setdefault(row["model"], []).append(row)
    pairs = _pairs(arms, bool(stock), training)
    probes, note = _probes(root, networks)
    samples = [r for name in networks for r in read_lines(root / f"{PARTS}/{name}.samples.jsonl")]
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
        models=_models(root, arguments, training),
        loss=[_loss(model, split, r) for split, by in table.items() for model, r in by.items()],
        gaps=[_gap(a, b, s, by[a], by[b]) for s, by in table.items() for a, b in pairs],
        slices=[row for split, by in table.items() for row in _slices(split, by)],
        probe=probes,
        probe_note=note,
        cost=[_cost(recipe, arm, facts) for arm, facts in training.items()],
        curves=[point for arm in arms for point in _curve(root, arm)],
        samples=evidence.Samples(
            path="evaluation/samples.jsonl",
            prompts_sha256=sha256_file(root / PROMPTS),
            tokens=recipe.evaluate.generate,
            temperature=recipe.evaluate.temperature,
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
        "evaluation/samples.jsonl": write_lines(root / "evaluation/samples.jsonl", samples),
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
    rows = [
        row
        for path in (*(f"{PARTS}/{name}.losses.parquet" for name in networks), *parts)
        for row in pq.read_table(root / path).to_pylist()
    ]
    rank = {name: place for place, name in enumerate((*networks, *baselines.NAMES))}
    return sorted(rows, key=lambda row: rank[row["model"]])


def _loss(model: str, split: str, rows: Sequence[Mapping[str, Any]]) -> evidence.Loss:
    column = {name: [row[name] for row in rows] for name in rows[0]}
    return evidence.Loss(
        model=model,
        split=split,
        bits_per_byte=statistics.bits_per_byte(column["nats"], column["bytes"]),
        ci95=statistics.bootstrap(column["group"], column["nats"], column["bytes"], seed=SEED),
        documents=len(rows),
        groups=len(set(column["group"])),
        bytes=sum(column["bytes"]),
        tokens=None if None in column["tokens"] else sum(column["tokens"]),
        nats=sum(column["nats"]),
    )


def _slices(split: str, table: Mapping[str, list[dict[str, Any]]]) -> Iterator[evidence.Slice]:
    """The losses again, section by section: `Item 9A` before `Item 10`, all models of each."""
    documents = Counter(row["section"] for row in next(iter(table.values())))
    enough = [value for value, n in documents.items() if value and n >= SLICE_DOCUMENTS]
    for value in sorted(enough, key=lambda v: ([int(n) for n in re.findall(r"\d+", v)], v)):
        for model, rows in table.items():
            row = _loss(model, split, [r for r in rows if r["section"] == value])
            shown = row.model_dump(exclude={"tokens", "nats"})
            if row.groups == 1:
                shown["ci95"] = None
            yield evidence.Slice(by="section", value=value, **shown)


def _gap(
    a: str,
    b: str,
    split: str,
    rows: Sequence[Mapping[str, Any]],
    others: Sequence[Mapping[str, Any]],
) -> evidence.Gap:
    groups, bytes = [r["group"] for r in rows], [r["bytes"] for r in rows]
    nats_a, nats_b = [r["nats"] for r in rows], [r["nats"] for r in others]
    if [r["document"] for r in rows] != [r["document"] for r in others]:
        raise ValueError(f"{a} and {b} were not scored on the same documents")
    difference = np.subtract(nats_a, nats_b)
    return evidence.Gap(
        a=a,
        b=b,
        split=split,
        bits_per_byte=statistics.bits_per_byte(difference, bytes),
        ci95=statistics.bootstrap(groups, nats_a, bytes, nats_b, seed=SEED),
        wins=statistics.wins(groups, nats_a, nats_b),
        groups=len(set(groups)),
        p_value=statistics.sign_flip_p(groups, nats_a, nats_b, seed=SEED),
    )


def _pairs(
    arms: Sequence[str], stock: bool, training: Mapping[str, Mapping[str, Any]]
) -> list[tuple[str, str]]:
    """Arms against stock, continued against scratch, arms against compressors."""
    order = sorted(arms, key=lambda arm: training[arm]["role"] != "continued")
    return [
        *((arm, "stock") for arm in arms if stock),
        *combinations(order, 2),
        *((arm, name) for arm in arms for name in baselines.NAMES),
    ]


def _models(
    root: Path, arguments: Mapping[str, Any], training: Mapping[str, Mapping[str, Any]]
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
    for name in baselines.NAMES:
        package = "lzma (Python)" if name == "xz" else "pyppmd"
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


def _probes(root: Path, networks: Sequence[str]) -> tuple[list[evidence.Probe], str]:
    found = read_json(root / PASSAGES)
    passages = [probe.Passage(**p) for p in found["passages"]]
    if not passages:
        return [], found["note"]
    features = {name: np.load(root / f"{PARTS}/{name}.features.npy") for name in networks}
    return probe.measure(passages, features, SEED), found["note"]


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
    few = [f"{len(n)} in {s}" for s, n in groups.items() if len(n) < FEW_GROUPS]
    if few:
        notices.append(
            f"Few independent groups were scored ({', '.join(few)}): below {FEW_GROUPS} the 95 % "
            "intervals are too narrow."
        )
    if recipe.evaluate.also:
        notices.append("Asked for, not measured: " + ", ".join(recipe.evaluate.also) + ".")
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
