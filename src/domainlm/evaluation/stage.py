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
    probe,
    quality,
    spans,
    tables,
)
from domainlm.evaluation.assemble import PASSAGES, PRIMER, PROMPTS
from domainlm.evaluation.deep import CHUNK, PARTS, SPANS
from domainlm.evaluation.tables import SEED
from domainlm.recipe import dump

TRAINED = ("config.json", "training.json", "training.jsonl")
CONTEXT_BYTES = 2_048  # of the window that is of one size for all models, in bytes


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

    models, skipped = _models(run)
    scores = [_score_task(model, inputs) for model, inputs in models]
    rows = len(spans.read_spans(run.root / SPANS))
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

    samples = tuple(f"{PARTS}/{model['name']}.samples.jsonl" for model, _ in models)
    copied = []
    for number, file in enumerate(files):
        to = f"{PARTS}/copies-{number:05d}.json"
        given = {"file": file, "samples": samples, "to": to}
        name = f"evaluation/copies-{number:05d}"
        copied.append(Task(name, find_copies, given, (file, *samples), (to,)))
    answers = [task for model, inputs in models for task in deep.answered(run, model, inputs)]
    yield [*copied, *answers]

    names = [model["name"] for model, _ in models]
    arms = [arm.name for arm in run.recipe.train if arm.name in names]
    trained = [f"models/{a}/{f}" for a in arms for f in TRAINED]
    snapshots = [path for model, _ in models for path in model.get("snapshots", ())]
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
    common = (SPANS, PASSAGES, PROMPTS)
    found: list[tuple[dict[str, Any], tuple[str, ...]]] = []
    skipped = []
    if run.stock is not None:
        stock = {"name": "stock", "stock": run.stock.name, "sha256": run.stock.sha256}
        found.append(({**how, **stock}, common))
    for arm in run.recipe.train:
        if arm.init == "stock" and run.stock is None:
            skipped.append(arm.name)
            continue
        folder = f"models/{arm.name}"
        kept = [f"{folder}/snapshots/{place + 1}.safetensors" for place in range(arm.snapshots)]
        files = ("model.safetensors", "config.json", "tokenizer.json")
        inputs = (*common, *(f"{folder}/{file}" for file in files), *kept)
        found.append(({**how, "name": arm.name, "snapshots": kept}, inputs))
    for guest in guests.read(run.root):
        known = {"name": guest.name, "stock": guest.source, "sha256": guest.sha256}
        found.append(({**how, **known}, common))
    return found, skipped


def _score_task(arguments: dict[str, Any], inputs: tuple[str, ...]) -> Task:
    name = arguments["name"]
    ends = ("losses.parquet", "windows.parquet", "snapshots.parquet", "samples.jsonl",
            "surprisal.jsonl", "features.safetensors", "model.json")  # fmt: skip
    outputs = tuple(f"{PARTS}/{name}.{end}" for end in ends)
    return Task(f"evaluation/score-{name}", score, arguments, inputs, outputs, in_process=True)


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
    from domainlm.evaluation import models

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


def score(root: Path, arguments: dict[str, Any]) -> Mapping[str, int]:
    """Task: one model's losses on the spans, its samples and its features; loads it once."""
    from domainlm.console import progress
    from domainlm.evaluation import loss, models, samples, surprisal

    name = arguments["name"]
    folder, sha256 = models.locate(root, arguments)
    model, tokenizer, separator = models.load(folder)
    context, batch = models.context(model), models.batch(model)
    window = min(arguments["window"], context)
    half = loss.half(window)
    prefix = f"{PARTS}/{name}"

    def read(part: list[spans.Span], window: int, stride: int, **more: int) -> list[dict[str, Any]]:
        """Rows of `documents.parquet` of these spans, read by windows of so many tokens."""
        size = sum(span.bytes for span in part)
        with progress(f"scoring {name}", size, "bytes") as advance:
            how = (window, stride, separator, batch, lambda share: advance(round(share * size), ""))
            found = loss.token_nats(model, tokenizer, [span.text for span in part], *how)
        return [
            tables.scored_row(name, span, loss.token_ends(tokenizer, span.text), nats,
                              window=window, stride=stride, **more)
            for span, nats in zip(part, found, strict=True)
        ]  # fmt: skip

    scored = spans.read_spans(root / SPANS)
    rows = read(scored, window, half)
    tables.write_documents(root / f"{prefix}.losses.parquet", rows)
    few = spans.first_quarter(scored)
    size = CONTEXT_BYTES * sum(row["tokens"] for row in rows) / sum(row["bytes"] for row in rows)
    equal = min(context, max(16, round(size)))
    others = read(few, window, window)
    others += read(few, equal, loss.half(equal), context_bytes=CONTEXT_BYTES)
    others.sort(key=lambda row: list(dict.fromkeys(s.split for s in few)).index(row["split"]))
    tables.write_documents(root / f"{prefix}.windows.parquet", others)

    prompts, special = read_json(root / PROMPTS), models.special_ids(folder)
    written = []
    with progress(f"samples of {name}", len(prompts), "prompts") as advance:
        for number, prompt in enumerate(prompts):
            texts = samples.continue_text(
                model,
                tokenizer,
                prompt["text"],
                identity=prompt["id"],
                seeds=samples.SEEDS,
                tokens=arguments["generate"],
                temperature=arguments["temperature"],
                context=min(context, max(window, 2)),
                separator=separator,
                special=special,
            )
            written += [
                samples.row(prompt, name, seed, text, sha256)
                for seed, text in zip(samples.SEEDS, texts, strict=True)
            ]
            advance(number + 1, "")
    tables.write_lines(root / f"{prefix}.samples.jsonl", written)
    readings = surprisal.readings(model, tokenizer, prompts, name, window, separator)
    lines = [reading.model_dump() for reading in readings]
    tables.write_lines(root / f"{prefix}.surprisal.jsonl", lines)

    passages = [p["text"] for p in read_json(root / PASSAGES)["passages"]]
    states = features.hidden_states(model, tokenizer, passages, window, separator, batch)
    features.write(root / f"{prefix}.features.safetensors", states)
    passed = []
    for path in arguments.get("snapshots", ()):  # last: they take the place of the weights
        quality.load(model, root / path)
        step = quality.facts(root / path)["step"]
        passed += [row | {"step": step} for row in read(few, window, half)]
    tables.write_documents(root / f"{prefix}.snapshots.parquet", passed)
    facts = {
        "sha256": sha256,
        "parameters": sum(p.numel() for p in model.parameters()),
        "vocabulary": model.get_input_embeddings().num_embeddings,
        "window": window,
        "stride": half,
    }
    write_json(root / f"{prefix}.model.json", facts)
    return {f"{prefix}.losses.parquet": len(rows), f"{prefix}.samples.jsonl": len(written)}
