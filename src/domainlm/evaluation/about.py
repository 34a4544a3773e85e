"""What the evidence says of a run beside what was measured: who, on what text, at what cost."""

import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from domainlm.artifacts import read_json
from domainlm.evaluation import baselines, evidence, statistics
from domainlm.evaluation.deep import PARTS
from domainlm.evaluation.spans import Span
from domainlm.evaluation.tables import read_lines
from domainlm.recipe import Recipe

CURVE_POINTS = 300
BANNER_GROUPS = 20  # below, the report says it first; up to `FEW_GROUPS` among the limits


def models(
    root: Path,
    arguments: Mapping[str, Any],
    training: Mapping[str, Mapping[str, Any]],
    present: Sequence[str],
) -> dict[str, evidence.Model]:
    """Who was measured: stock model, arms, guests, then the baselines that are `present`."""
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
            title = f"{stock['title'] if stock else 'a pretrained model'}, trained further"
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


def corpus(root: Path, merkle_root: str) -> evidence.Corpus:
    """The ledger's figures, and the tokenizer's on train."""
    index = read_json(root / "tokens/index.json")
    train = index["splits"]["train"]
    tokenizer = {
        "vocabulary": index["vocabulary"],
        "bytes_per_token": train["bytes"] / max(1, train["tokens"]),
        "train_tokens": train["tokens"],
    }
    ledger = read_json(root / "corpus/ledger.json")["evidence"]
    return evidence.Corpus(**ledger, tokenizer=tokenizer, merkle_root=merkle_root)


def cost(recipe: Recipe, arm: str, facts: Mapping[str, Any]) -> evidence.Cost:
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


def curve(root: Path, arm: str) -> list[evidence.CurvePoint]:
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


def notices(recipe: Recipe, arguments: Mapping[str, Any], spans: Sequence[Span]) -> list[str]:
    """What a reader must know before any number."""
    notices = []
    if recipe.invented:
        notices.append(
            "The companies are invented: these figures say nothing about real filings. Such text "
            "is easy to learn: a model from scratch does better here than on real filings."
        )
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
    sizes = {split: len(names) for split, names in groups.items()}
    alike = len(set(sizes.values())) == 1
    one, many = ("company", "companies") if recipe.source.kind == "edgar" else ("group", "groups")
    for split, n in list(sizes.items())[: 1 if alike else None]:
        if n < BANNER_GROUPS:
            told = f"read “95 %” as about {100 * statistics.coverage(n):.0f} %"
            notices.append(
                f"Only {f'{n} {many} were' if n > 1 else f'one {one} was'} scored"
                f"{'' if alike else f' ({split})'}: {told if n > 1 else 'there are no intervals'}."
            )
    return notices


def environment(training: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
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
