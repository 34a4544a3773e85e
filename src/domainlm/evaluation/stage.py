"""The stage `evaluate`: spans and passages, a score of every model on them, the evidence.

Every model, ours or stock, goes through the same task. A stock model's place on this machine is
found inside the task, so that what the manifest records is the same on every machine.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from domainlm.artifacts import Run, Task, atomic_write, read_json, sha256_file, write_json
from domainlm.corpus import documents
from domainlm.errors import DomainLMError
from domainlm.evaluation import assemble, baselines, probe, spans
from domainlm.evaluation.assemble import PARTS, PASSAGES, PRIMER, PROMPTS, SEED, SPANS
from domainlm.recipe import dump

TRAINED = ("config.json", "training.json", "training.jsonl")
CHUNK = 32  # spans a baseline task compresses


def waves(run: Run) -> Iterator[list[Task]]:
    """What is scored; the scores of models and compressors; the evidence."""
    files = tuple(p.relative_to(run.root).as_posix() for p in documents.paths(run.root))
    wanted = run.recipe.evaluate
    what = wanted.model_dump(include={"documents", "bytes", "passages", "primer"})
    yield [Task("evaluation/spans", choose, what, files, (SPANS, PASSAGES, PRIMER))]

    rows = len(spans.read_spans(run.root / SPANS))
    how = wanted.model_dump(include={"window", "generate", "temperature"})
    common = (SPANS, PASSAGES, PROMPTS)
    scored, skipped, scores = [], [], []
    if run.stock is not None:
        stock = {"name": "stock", "stock": run.stock.name, "sha256": run.stock.sha256}
        scores.append(_score_task({**how, **stock}, common))
        scored.append("stock")
    for arm in run.recipe.train:
        if arm.init == "stock" and run.stock is None:
            skipped.append(arm.name)
            continue
        model = tuple(
            f"models/{arm.name}/{file}"
            for file in ("model.safetensors", "config.json", "tokenizer.json")
        )
        scores.append(_score_task({**how, "name": arm.name}, (*common, *model)))
        scored.append(arm.name)
    compressed = [
        Task(
            f"evaluation/baselines-{number:05d}",
            compress,
            {"number": number},
            (SPANS, PRIMER),
            (f"{PARTS}/baselines-{number:05d}.parquet",),
        )
        for number in range(-(-rows // CHUNK))
    ]
    yield [*compressed, *scores]

    arms = [name for name in scored if name != "stock"]
    trained = [f"models/{a}/{f}" for a in arms for f in TRAINED]
    parts = [output for task in (*scores, *compressed) for output in task.outputs]
    stock_facts: dict[str, Any] | None = None
    if run.stock is not None:
        stock_facts = {f: getattr(run.stock, f) for f in ("name", "title", "sha256", "notes")}
    yield [
        Task(
            "evaluation/evidence",
            assemble.gather,
            {
                "recipe": dump(run.recipe),
                "command": run.command,
                "stock": stock_facts,
                "arms": arms,
                "skipped": skipped,
                "baselines": [output for task in compressed for output in task.outputs],
                "merkle_root": run.manifest.merkle_root(("corpus", "tokens", "training")),
            },
            (*common, "corpus/ledger.json", "tokens/index.json", *trained, *parts),
            (
                "evaluation/evidence.json",
                "evaluation/documents.parquet",
                "evaluation/samples.jsonl",
            ),
        )
    ]


def _score_task(arguments: dict[str, Any], inputs: tuple[str, ...]) -> Task:
    name = arguments["name"]
    ends = ("losses.parquet", "samples.jsonl", "features.npy", "model.json")
    outputs = tuple(f"{PARTS}/{name}.{end}" for end in ends)
    return Task(f"evaluation/score-{name}", score, arguments, inputs, outputs, in_process=True)


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
    passages, note = probe.passages(files, arguments["passages"], SEED)
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
    for name in baselines.NAMES:
        for span, nats in zip(
            part, baselines.nats(name, [s.text for s in part], primer), strict=True
        ):
            rows.append(assemble.document_row(name, span, None, nats))
    path = f"{PARTS}/baselines-{number:05d}.parquet"
    return {path: assemble.write_documents(root / path, rows)}


def score(root: Path, arguments: dict[str, Any]) -> Mapping[str, int]:
    """Task: one model's losses on the spans, its samples and its features; loads it once."""
    import numpy as np

    from domainlm.console import progress
    from domainlm.evaluation import loss, models, samples

    name = arguments["name"]
    folder, sha256 = _find(root, arguments)
    model, tokenizer, separator = models.load(folder)
    context = models.context(model)
    window = min(arguments["window"], context)
    stride, batch = max(1, window // 2), 32 if model.device.type == "cuda" else 4
    prefix = f"{PARTS}/{name}"

    scored = spans.read_spans(root / SPANS)
    texts = [span.text for span in scored]
    size = sum(span.bytes for span in scored)
    with progress(f"scoring {name}", size, "bytes") as advance:
        how = (window, stride, separator, batch, lambda share: advance(round(share * size), ""))
        results = loss.nats(model, tokenizer, texts, *how)
    rows = [
        assemble.document_row(name, span, tokens, nats)
        for span, (tokens, nats) in zip(scored, results, strict=True)
    ]
    assemble.write_documents(root / f"{prefix}.losses.parquet", rows)

    prompts, special = read_json(root / PROMPTS), models.special_ids(folder)
    written = []
    with progress(f"samples of {name}", len(prompts), "prompts") as advance:
        for number, prompt in enumerate(prompts):
            text = samples.continue_text(
                model,
                tokenizer,
                prompt["text"],
                identity=prompt["id"],
                seed=SEED,
                tokens=arguments["generate"],
                temperature=arguments["temperature"],
                context=min(context, max(window, 2)),
                separator=separator,
                special=special,
            )
            written.append(assemble.sample_row(prompt, name, text, sha256))
            advance(number + 1, "")
    assemble.write_lines(root / f"{prefix}.samples.jsonl", written)

    passages = [p["text"] for p in read_json(root / PASSAGES)["passages"]]
    features = loss.hidden_means(model, tokenizer, passages, window, separator, batch)
    with atomic_write(root / f"{prefix}.features.npy") as file:
        np.save(file, features)
    facts = {
        "sha256": sha256,
        "parameters": sum(p.numel() for p in model.parameters()),
        "vocabulary": model.get_input_embeddings().num_embeddings,
        "window": window,
        "stride": stride,
    }
    write_json(root / f"{prefix}.model.json", facts)
    return {f"{prefix}.losses.parquet": len(rows), f"{prefix}.samples.jsonl": len(written)}


def _find(root: Path, arguments: dict[str, Any]) -> tuple[Path, str]:
    """Folder and weights' hash of the model to score; the stock model is located again."""
    if "stock" not in arguments:
        folder = root / "models" / arguments["name"]
        return folder, sha256_file(folder / "model.safetensors")
    from domainlm.pretrained import relocate

    found = relocate(arguments["stock"], arguments["sha256"])
    return found.path, found.sha256
