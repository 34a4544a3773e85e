"""The stage `evaluate`: spans and passages, a score of every model on them, the evidence.

Every model, ours or stock, goes through the same task. A stock model's place on this machine is
found inside the task, so that what the manifest records is the same on every machine.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from domainlm.artifacts import Run, Task, atomic_write, read_json, write_json
from domainlm.corpus import audit, documents
from domainlm.errors import DomainLMError
from domainlm.evaluation import (
    assemble,
    baselines,
    copies,
    deep,
    features,
    guests,
    models,
    probe,
    score,
    spans,
    tables,
)
from domainlm.evaluation.assemble import PASSAGES, PRIMER, PROMPTS
from domainlm.evaluation.deep import CHUNK, PARTS, SPANS
from domainlm.evaluation.tables import SEED
from domainlm.recipes import dump

TRAINED = ("config.json", "training.json", "training.jsonl")


def waves(run: Run) -> Iterator[list[Task]]:
    """What is scored; the scores of all models; what needs these; the evidence."""
    files = tuple(p.relative_to(run.root).as_posix() for p in documents.paths(run.root))
    wanted = run.recipe.evaluate
    novelty = (audit.ROWS,) if (run.root / audit.ROWS).is_file() else ()
    what = wanted.model_dump(include={"documents", "bytes", "passages", "primer"})
    what["deep_probe"] = wanted.wants("probe")
    first, second = deep.chosen(run, files)
    yield [
        Task("evaluation/spans", choose, what, (*files, *novelty), (SPANS, PASSAGES, PRIMER)),
        *first,
    ]

    given, skipped = _models(run)
    rows = len(spans.read_spans(run.root / SPANS))
    scores = [task for model, inputs in given for task in score.tasks(model, inputs, rows)]
    compressed = [
        Task(
            f"evaluation/baselines-{number:05d}",
            compress,
            {"number": number, "uniform": wanted.wants("baselines")},
            (SPANS, PRIMER),
            (f"{PARTS}/baselines-{number:05d}.parquet",),
        )
        for number in range(-(-rows // CHUNK))
    ]
    if wanted.wants("baselines"):
        compressed += deep.baselines_tasks(run, files, len(compressed))
    controls = _probe_controls(run)
    yield [*second, *compressed, *controls, *scores]

    samples = tuple(f"{PARTS}/{model['name']}.samples.jsonl" for model, _ in given)
    copied = []
    for number, file in enumerate(files):
        to = f"{PARTS}/copies-{number:05d}.json"
        what = {"file": file, "samples": samples, "to": to}
        name = f"evaluation/copies-{number:05d}"
        copied.append(Task(name, find_copies, what, (file, *samples), (to,)))
    answers = [task for model, inputs in given for task in deep.answered(run, model, inputs)]
    yield [*copied, *answers]
    models.release()  # what follows is of figures alone

    names = [model["name"] for model, _ in given]
    arms = [arm.name for arm in run.recipe.train if arm.name in names]
    trained = [f"models/{a}/{f}" for a in arms for f in TRAINED]
    snapshots = [path for model, _ in given for path in model.get("snapshots", ())]
    gathered = (*scores, *compressed, *controls, *copied, *answers)
    parts = [output for task in gathered for output in task.outputs]
    stock = run.stock and {f: getattr(run.stock, f) for f in ("name", "title", "sha256", "notes")}
    arguments = {
        "recipe": dump(run.recipe),
        "command": run.command,
        "stock": stock,
        "arms": arms,
        "guests": [dataclasses.asdict(guest) for guest in guests.read(run.root)],
        "skipped": skipped,
        "rows": score.rows(scores),
        "baselines": [output for task in compressed for output in task.outputs],
        "controls": {task.arguments["name"]: task.outputs[0] for task in controls},
        "copies": [task.outputs[0] for task in copied],
        "merkle_root": run.manifest.merkle_root(("corpus", "tokens", "training")),
    }
    choices = [output for task in (*first, *second) for output in task.outputs]
    common = (SPANS, PASSAGES, PROMPTS, *choices)
    inputs = (*common, "corpus/ledger.json", "tokens/index.json", *trained, *snapshots, *parts)
    files = ("evidence.json", "documents.parquet", "windows.parquet", "snapshots.parquet",
             "samples.jsonl", "surprisal.jsonl")  # fmt: skip
    outputs = tuple(f"evaluation/{file}" for file in files)
    yield [Task("evaluation/evidence", assemble.gather, arguments, inputs, outputs)]


def _models(run: Run) -> tuple[list[tuple[dict[str, Any], tuple[str, ...]]], list[str]]:
    """(arguments, inputs) of the tasks of each network, and arms that wait for a stock model."""
    how = run.recipe.evaluate.model_dump(include={"window", "generate", "temperature"})
    found: list[tuple[dict[str, Any], tuple[str, ...]]] = []
    skipped = []
    if run.stock is not None:
        stock = {"name": "stock", "stock": run.stock.name, "sha256": run.stock.sha256}
        found.append(({**how, **stock}, ()))
    for arm in run.recipe.train:
        if arm.init == "stock" and run.stock is None:
            skipped.append(arm.name)
            continue
        folder = f"models/{arm.name}"
        kept = [f"{folder}/snapshots/{place + 1}.safetensors" for place in range(arm.snapshots)]
        files = ("model.safetensors", "config.json", "tokenizer.json")
        inputs = (*(f"{folder}/{file}" for file in files), *kept)
        found.append(({**how, "name": arm.name, "snapshots": kept}, inputs))
    for guest in guests.read(run.root):
        known = {"name": guest.name, "stock": guest.source, "sha256": guest.sha256}
        found.append(({**how, **known}, ()))
    return found, skipped


def _probe_controls(run: Run) -> list[Task]:
    """Features that no training made, for the deep probe: random weights, and MiniLM's."""
    if not run.recipe.evaluate.wants("probe"):
        return []
    arm = next((arm.name for arm in run.recipe.train if arm.init is None), None)
    wanted = {"random weights": f"models/{arm}/config.json"} if arm else {}
    wanted["MiniLM"] = PASSAGES
    there = features.minilm_folder() is not None  # installed later, it is measured later
    return [
        Task(f"evaluation/features-{n}", control,
             {"name": name, "arm": arm, "there": there, "to": to},
             (PASSAGES, file), (to,), in_process=True)
        for n, (name, file) in enumerate(wanted.items())
        for to in [f"{PARTS}/control-{n}.safetensors"]
    ]  # fmt: skip


def choose(root: Path, arguments: dict[str, Any]) -> Mapping[str, int]:
    """Task: the held-out spans, the probe's passages and the compressor's primer.

    Where nothing is held out, the spans are of `validation`; raises where that is empty too.
    """
    files = documents.paths(root)
    limit, size = arguments["documents"], arguments["bytes"]
    chosen: list[spans.Span] = []
    for split in documents.HELD_OUT:
        chosen += spans.choose(files, split, limit, size, SEED)
    chosen = chosen or spans.choose(files, "validation", limit, size, SEED)
    if not chosen:
        raise DomainLMError(
            "there is no held-out text to measure on",
            where="[split] of the recipe",
            why="no document is seen, unseen or validation",
            fix="hold some out, for example with --set split.newest=0.1",
        )
    deciles = audit.novelty(root) if (root / audit.ROWS).is_file() else {}
    chosen = [
        dataclasses.replace(span, novelty=str(deciles.get(span.document, ""))) for span in chosen
    ]
    deeper = arguments["deep_probe"]
    total = arguments["passages"] * (deep.DEEP if deeper else 1)
    most = probe.LABELS[2 if deeper else 1]
    passages, note = probe.passages(files, total, SEED, most)
    write_json(
        root / PASSAGES, {"note": note, "passages": [dataclasses.asdict(p) for p in passages]}
    )
    with atomic_write(root / PRIMER) as file:
        file.write(spans.primer(files, arguments["primer"], SEED))
    return {SPANS: spans.write_spans(root / SPANS, chosen), PASSAGES: len(passages)}


def compress(root: Path, arguments: dict[str, Any]) -> Mapping[str, int]:
    """Task: nats of one chunk of spans under every compressor."""
    number = arguments["number"]
    part = spans.read_spans(root / SPANS)[number * CHUNK : (number + 1) * CHUNK]
    primer = (root / PRIMER).read_bytes()
    rows = []
    for name in (*(("uniform",) if arguments["uniform"] else ()), *baselines.NAMES):
        costs = baselines.nats(name, [s.text for s in part], primer)
        rows += [tables.compressed_row(name, s, n) for s, n in zip(part, costs, strict=True)]
    path = f"{PARTS}/baselines-{number:05d}.parquet"
    return {path: tables.write_documents(root / path, rows)}


def find_copies(root: Path, arguments: dict[str, Any]) -> Mapping[str, int]:
    """Task: the longest span of each sample in one documents file, and personal data in it."""
    rows = [row for path in arguments["samples"] for row in tables.read_lines(root / path)]
    strings = {string for *_, string in copies.personal((r["model"], r["text"]) for r in rows)}
    file = root / arguments["file"]
    found = copies.find(file, [row["text"] for row in rows])
    standing = sorted(copies.standing(file, strings))
    lines = [dataclasses.astuple(copy) for copy in found]
    write_json(root / arguments["to"], {"copies": lines, "standing": standing})
    return {arguments["to"]: len(rows)}


def control(root: Path, arguments: dict[str, Any]) -> Mapping[str, int]:
    """Task: features of the probe's passages that no training on this corpus made."""
    texts = [p["text"] for p in read_json(root / PASSAGES)["passages"]]
    states = features.NONE
    if arguments["name"] == "MiniLM":
        if folder := features.minilm_folder():
            states = features.minilm(folder, texts, 32)
    else:
        folder = root / "models" / arguments["arm"]
        model = features.untrained(folder, SEED)
        tokenizer, separator = models.plain_tokenizer(folder), models.separator_id(folder)
        window = min(1024, models.context(model))
        states = features.hidden_states(model, tokenizer, texts, window, separator, 8)
    features.write(root / arguments["to"], states)
    return {arguments["to"]: len(texts)}
