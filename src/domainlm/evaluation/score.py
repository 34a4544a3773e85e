"""What every model does on the run's spans, prompts and passages, in tasks of its own.

A task is a few spans, so that an evaluation that was killed goes on about where it was. The model
is loaded once: tasks of one model follow each other (`models.held`).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from domainlm.artifacts import Task, read_json, write_json
from domainlm.evaluation import features, quality, spans, tables
from domainlm.evaluation.assemble import PASSAGES, PROMPTS
from domainlm.evaluation.deep import PARTS, SPANS

STEP = 8  # spans of a task
CONTEXT_BYTES = 2_048  # of the window that is of one size for all models, in bytes


def tasks(arguments: dict[str, Any], inputs: tuple[str, ...], count: int) -> list[Task]:
    """The tasks of one model; `arguments` name it, `inputs` are its files, `count` the spans."""
    name, snapshots = arguments["name"], arguments.get("snapshots", [])
    given = {key: value for key, value in arguments.items() if key != "snapshots"}
    files = tuple(file for file in inputs if file not in snapshots)
    chunks = range(-(-count // STEP))
    return [
        *(
            Task(f"evaluation/losses-{name}-{n:05d}", losses, given | {"number": n},
                 (SPANS, *files), (f"{PARTS}/{name}.losses-{n:05d}.parquet",), in_process=True)
            for n in chunks
        ),
        Task(f"evaluation/windows-{name}", windows, given, (SPANS, *files),
             (f"{PARTS}/{name}.windows.parquet",), in_process=True),
        Task(f"evaluation/samples-{name}", write, given, (PROMPTS, *files),
             (f"{PARTS}/{name}.samples.jsonl", f"{PARTS}/{name}.surprisal.jsonl"),
             in_process=True),
        Task(f"evaluation/features-{name}", read_passages, given, (PASSAGES, *files),
             (f"{PARTS}/{name}.features.safetensors", f"{PARTS}/{name}.model.json"),
             in_process=True),
        *(
            Task(f"evaluation/snapshot-{name}-{n}", snapshot, given | {"snapshot": path},
                 (SPANS, *files, path), (f"{PARTS}/{name}.snapshot-{n}.parquet",), in_process=True)
            for n, path in enumerate(snapshots, 1)
        ),
    ]  # fmt: skip


def rows(done: Sequence[Task]) -> dict[str, list[str]]:
    """The files of rows that tasks of all models write, in order: losses, windows, snapshots."""
    kinds = {"losses": losses, "windows": windows, "snapshots": snapshot}
    return {
        kind: [task.outputs[0] for task in done if task.function is function]
        for kind, function in kinds.items()
    }


def _read(
    found: Any, name: str, part: list[spans.Span], window: int, stride: int, **more: int
) -> list[dict[str, Any]]:
    """Rows of `documents.parquet` of these spans, read by windows of so many tokens."""
    from domainlm.console import progress
    from domainlm.evaluation import loss, models

    size = sum(span.bytes for span in part)
    with progress(f"scoring {name}", size, "bytes") as advance:
        nats = loss.token_nats(
            found.model, found.tokenizer, [span.text for span in part], window, stride,
            found.separator, models.batch(found.model),
            lambda share: advance(round(share * size), ""),
        )  # fmt: skip
    return [
        tables.scored_row(name, span, loss.token_ends(found.tokenizer, span.text), row,
                          window=window, stride=stride, **more)
        for span, row in zip(part, nats, strict=True)
    ]  # fmt: skip


def losses(root: Path, arguments: dict[str, Any]) -> Mapping[str, int]:
    """Task: one model's losses on a few spans."""
    from domainlm.evaluation import loss, models

    name, number = arguments["name"], arguments["number"]
    found = models.held(root, arguments)
    window = found.window(arguments["window"])
    part = spans.read_spans(root / SPANS)[number * STEP : (number + 1) * STEP]
    path = f"{PARTS}/{name}.losses-{number:05d}.parquet"
    scored = _read(found, name, part, window, loss.half(window))
    return {path: tables.write_documents(root / path, scored)}


def windows(root: Path, arguments: dict[str, Any]) -> Mapping[str, int]:
    """Task: one model's losses on a quarter of the spans, by two other windows.

    One without overlap, and one of `CONTEXT_BYTES` in the model's own tokens.
    """
    from domainlm.evaluation import loss, models

    name = arguments["name"]
    found = models.held(root, arguments)
    window = found.window(arguments["window"])
    scored = spans.read_spans(root / SPANS)
    few = spans.first_quarter(scored)
    tokens = sum(len(loss.encode(found.tokenizer, span.text)) for span in scored)
    size = CONTEXT_BYTES * tokens / sum(span.bytes for span in scored)
    equal = found.window(max(16, round(size)))
    others = _read(found, name, few, window, window)
    others += _read(found, name, few, equal, loss.half(equal), context_bytes=CONTEXT_BYTES)
    others.sort(key=lambda row: list(dict.fromkeys(s.split for s in few)).index(row["split"]))
    path = f"{PARTS}/{name}.windows.parquet"
    return {path: tables.write_documents(root / path, others)}


def write(root: Path, arguments: dict[str, Any]) -> Mapping[str, int]:
    """Task: one model's continuations of the prompts, and how it reads what really follows."""
    from domainlm.console import progress
    from domainlm.evaluation import models, samples, surprisal

    name = arguments["name"]
    found = models.held(root, arguments)
    window = found.window(arguments["window"])
    prompts, special = read_json(root / PROMPTS), models.special_ids(found.folder)
    written = []
    with progress(f"samples of {name}", len(prompts), "prompts") as advance:
        for number, prompt in enumerate(prompts):
            texts = samples.continue_text(
                found.model,
                found.tokenizer,
                prompt["text"],
                identity=prompt["id"],
                seeds=samples.SEEDS,
                tokens=arguments["generate"],
                temperature=arguments["temperature"],
                context=found.window(max(window, 2)),
                separator=found.separator,
                special=special,
            )
            written += [
                samples.row(prompt, name, seed, text, found.sha256)
                for seed, text in zip(samples.SEEDS, texts, strict=True)
            ]
            advance(number + 1, "")
    tables.write_lines(root / f"{PARTS}/{name}.samples.jsonl", written)
    how = (prompts, name, window, found.separator)
    readings = surprisal.readings(found.model, found.tokenizer, *how)
    lines = [reading.model_dump() for reading in readings]
    tables.write_lines(root / f"{PARTS}/{name}.surprisal.jsonl", lines)
    return {f"{PARTS}/{name}.samples.jsonl": len(written)}


def read_passages(root: Path, arguments: dict[str, Any]) -> Mapping[str, int]:
    """Task: one model's features of the probe's passages, and what the model is."""
    from domainlm.evaluation import loss, models

    found = models.held(root, arguments)
    window = found.window(arguments["window"])
    texts = [p["text"] for p in read_json(root / PASSAGES)["passages"]]
    how = (window, found.separator, models.batch(found.model))
    states = features.hidden_states(found.model, found.tokenizer, texts, *how)
    prefix = f"{PARTS}/{arguments['name']}"
    features.write(root / f"{prefix}.features.safetensors", states)
    facts = {
        "sha256": found.sha256,
        "parameters": sum(p.numel() for p in found.model.parameters()),
        "vocabulary": found.model.get_input_embeddings().num_embeddings,
        "window": window,
        "stride": loss.half(window),
    }
    write_json(root / f"{prefix}.model.json", facts)
    return {f"{prefix}.features.safetensors": len(texts)}


def snapshot(root: Path, arguments: dict[str, Any]) -> Mapping[str, int]:
    """Task: losses of one snapshot's weights on a quarter of the spans."""
    from domainlm.evaluation import loss, models

    name, path = arguments["name"], arguments["snapshot"]
    found = models.held(root, arguments)
    models.release()  # its weights are about to be others
    quality.load(found.model, root / path)
    window = found.window(arguments["window"])
    few = spans.first_quarter(spans.read_spans(root / SPANS))
    step = quality.facts(root / path)["step"]
    passed = [row | {"step": step} for row in _read(found, name, few, window, loss.half(window))]
    to = f"{PARTS}/{name}.snapshot-{Path(path).stem}.parquet"
    return {to: tables.write_documents(root / to, passed)}
