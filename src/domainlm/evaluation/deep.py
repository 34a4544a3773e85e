"""What the recipe asks for by `evaluate.also`: its tasks, and their rows of evidence.

Each part has what is chosen once a run, what every model answers in a task of its own, and the
rows that follow. A part that is not asked for costs nothing.
"""

import dataclasses
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from domainlm.artifacts import Run, Task, read_json, write_json
from domainlm.corpus import documents
from domainlm.evaluation import (
    baselines,
    choices,
    memorization,
    probe,
    retrieval,
    statistics,
    tables,
)
from domainlm.evaluation.evidence import Choice, General
from domainlm.evaluation.spans import cut, hashed, read_spans
from domainlm.evaluation.tables import SEED

PARTS = "evaluation/parts"
SPANS = f"{PARTS}/spans.parquet"
QUESTIONS, RETRIEVAL = f"{PARTS}/questions.json", f"{PARTS}/retrieval.json"
WINDOWS = f"{PARTS}/memorization.json"
NGRAM = f"{PARTS}/baseline-5-gram.parquet"
DEEP = 8  # times `evaluate.passages` are the passages of the deep probe
HALF = 2  # a half of it are questions on the next passage, and windows of each kind of memorisation
CHUNK = 32  # spans a baseline task compresses
GENERAL, GENERAL_BYTES = 16, 8192  # texts of no domain
GENERAL_SOURCE = f"the language reference of Python {platform.python_version()}"
FILES = {  # what every model answers
    "next_passage": "choices.json",
    "retrieval": "retrieval.npy",
    "memorization": "memorization.json",
    "baselines": "general.json",
}


def chosen(run: Run, files: Sequence[str]) -> list[list[Task]]:
    """Waves of tasks that choose what is asked; `files` are those of the documents."""
    wants, size = run.recipe.evaluate.wants, {"passages": run.recipe.evaluate.passages}
    first, second = [], []
    if wants("next_passage"):
        first.append(Task("evaluation/questions", ask, size, files, (QUESTIONS,)))
    if wants("retrieval"):
        first.append(Task("evaluation/passages", seek, size, files, (RETRIEVAL,)))
    if wants("memorization"):
        every = memorization.every([run.root / file for file in files])
        scans = [f"{PARTS}/scan-{number:05d}.parquet" for number in range(len(files))]
        first += [
            Task(f"evaluation/scan-{n:05d}", scan, {"file": file, "to": to, "every": every},
                 (file,), (to,))
            for n, (file, to) in enumerate(zip(files, scans, strict=True))
        ]  # fmt: skip
        second.append(
            Task("evaluation/windows", pick_windows, {**size, "files": files, "scans": scans},
                 (*files, *scans), (WINDOWS,))
        )  # fmt: skip
    return [first, second]


def answered(run: Run, model: Mapping[str, Any], inputs: Sequence[str]) -> list[Task]:
    """What one model answers, a task a part; `model` and `inputs` are those of its scores."""
    asked = {"next_passage": (QUESTIONS,), "retrieval": (RETRIEVAL,), "memorization": (WINDOWS,)}
    return [
        Task(
            f"evaluation/{part}-{model['name']}",
            answer,
            {**model, "part": part},
            (*asked.get(part, ()), *inputs),
            (f"{PARTS}/{model['name']}.{file}",),
            in_process=True,
        )
        for part, file in FILES.items()
        if run.recipe.evaluate.wants(part)
    ]


def baselines_tasks(run: Run, files: Sequence[str], chunks: int) -> list[Task]:
    """The 5-gram over the run's tokens, and copying last year, a chunk of spans at a time."""
    index = read_json(run.root / "tokens/index.json")
    shards = tuple(f"tokens/{shard['path']}" for shard in index["splits"]["train"]["shards"])
    inputs = (SPANS, "tokens/index.json", "tokens/tokenizer.json", *shards)
    return [
        Task("evaluation/5-gram", count, {}, inputs, (NGRAM,)),
        *(
            Task(f"evaluation/last-year-{number:05d}", copy_last_year, {"number": number},
                 (SPANS, *files), (f"{PARTS}/last-year-{number:05d}.parquet",))
            for number in range(chunks)
        ),
    ]  # fmt: skip


def ask(root: Path, arguments: dict[str, Any]) -> Mapping[str, int]:
    """Task: the questions on the next passage, and on the section of a passage."""
    files = documents.paths(root)
    passages, _ = probe.passages(files, arguments["passages"], SEED)
    count = arguments["passages"] // HALF
    sections = [p for p in passages if p.kind == "section"]  # an author has no heading
    rows = choices.questions(files, count, SEED) + choices.section_questions(sections, SEED)
    rule = choices.next_item(files, SEED)
    found = {"questions": [dataclasses.asdict(row) for row in rows],
             "next_item": rule.model_dump() if rule else None}  # fmt: skip
    write_json(root / QUESTIONS, found)
    return {QUESTIONS: len(rows)}


def seek(root: Path, arguments: dict[str, Any]) -> Mapping[str, int]:
    """Task: the passages of retrieval."""
    found, note = retrieval.passages(documents.paths(root), arguments["passages"], SEED)
    rows = [dataclasses.asdict(row) for row in found]
    write_json(root / RETRIEVAL, {"note": note, "passages": rows})
    return {RETRIEVAL: len(rows)}


def scan(root: Path, arguments: dict[str, Any]) -> Mapping[str, int]:
    """Task: the stretches of one documents file that windows are chosen from."""
    table = memorization.scan(root / arguments["file"], arguments["every"])
    tables.write_table(root / arguments["to"], table)
    return {arguments["to"]: len(table)}


def pick_windows(root: Path, arguments: dict[str, Any]) -> Mapping[str, int]:
    """Task: the windows that models may have memorised, and the control."""
    import pyarrow.parquet as pq

    scans = [pq.read_table(root / path) for path in arguments["scans"]]
    files = [root / path for path in arguments["files"]]
    found, note = memorization.choose(scans, files, arguments["passages"] // HALF, SEED)
    rows = [dataclasses.asdict(row) for row in found]
    write_json(root / WINDOWS, {"note": note, "windows": rows})
    return {WINDOWS: len(rows)}


def copy_last_year(root: Path, arguments: dict[str, Any]) -> Mapping[str, int]:
    """Task: nats of a chunk of spans after their group's latest earlier document, where one is."""
    number = arguments["number"]
    part = read_spans(root / SPANS)[number * CHUNK : (number + 1) * CHUNK]
    rows = []
    for span, earlier in zip(part, baselines.previous(documents.paths(root), part), strict=True):
        if earlier:
            (cost,) = baselines.nats(baselines.LAST_YEAR, [span.text], earlier[1].encode("utf-8"))
            rows.append(tables.compressed_row(baselines.LAST_YEAR, span, cost))
    path = f"{PARTS}/last-year-{number:05d}.parquet"
    return {path: tables.write_documents(root / path, rows)}


def count(root: Path, arguments: dict[str, Any]) -> Mapping[str, int]:
    """Task: fit the 5-gram to the train tokens, and score every span."""
    from domainlm.evaluation import loss, models, ngram
    from domainlm.tokens.shards import open_shards

    fitted = ngram.fit(open_shards(root / "tokens", "train"))
    tokenizer = models.plain_tokenizer(root / "tokens")
    rows = [
        tables.compressed_row(
            baselines.NGRAM, span, float(fitted.nats(loss.encode(tokenizer, span.text)).sum())
        )
        for span in read_spans(root / SPANS)
    ]
    return {NGRAM: tables.write_documents(root / NGRAM, rows)}


def general_texts() -> list[str]:
    """Texts of no domain that every machine has: spans of the Python language reference."""
    from pydoc_data.topics import topics

    names = sorted(topics, key=lambda name: (len(topics[name]) < GENERAL_BYTES, hashed(name)))
    return [cut(topics[name], GENERAL_BYTES, hashed(name))[1] for name in names[:GENERAL]]


def answer(root: Path, arguments: dict[str, Any]) -> Mapping[str, int]:
    """Task: one model's answers to one part."""
    from domainlm.evaluation import models

    name, part = arguments["name"], arguments["part"]
    found = models.held(root, arguments)
    how = (found.window(arguments["window"]), found.separator, models.batch(found.model))
    path = root / f"{PARTS}/{name}.{FILES[part]}"
    return {
        str(path.relative_to(root)): _ANSWERS[part](root, path, found.model, found.tokenizer, *how)
    }


def _choices(root: Path, path: Path, model: Any, tokenizer: Any, *how: Any) -> int:
    questions = [choices.Question(**row) for row in read_json(root / QUESTIONS)["questions"]]
    found = choices.answers(model, tokenizer, questions, *how)
    write_json(path, found)
    return len(found)


def _retrieval(root: Path, path: Path, model: Any, tokenizer: Any, *how: int) -> int:
    import numpy as np

    from domainlm.artifacts import atomic_write
    from domainlm.evaluation import features

    texts = [row["text"] for row in read_json(root / RETRIEVAL)["passages"]]
    states = features.hidden_states(model, tokenizer, texts, *how)
    with atomic_write(path) as file:  # the mean of the last layer
        np.save(file, states.values[-1, 0] if texts else states.values)
    return len(texts)


def _memorization(root: Path, path: Path, model: Any, tokenizer: Any, *how: int) -> int:
    windows = [memorization.Window(**row) for row in read_json(root / WINDOWS)["windows"]]
    _, separator, batch = how
    found = memorization.extracted(model, tokenizer, windows, separator, batch)
    write_json(path, found)
    return len(found)


def _general(root: Path, path: Path, model: Any, tokenizer: Any, *how: int) -> int:
    from domainlm.evaluation import loss

    window, separator, batch = how
    texts, stride = general_texts(), loss.half(window)
    scored = loss.nats(model, tokenizer, texts, window, stride, separator, batch)
    write_json(path, [nats for _, nats in scored])
    return len(scored)


_ANSWERS: dict[str, Callable[..., int]] = {
    "next_passage": _choices,
    "retrieval": _retrieval,
    "memorization": _memorization,
    "baselines": _general,
}


def gather(root: Path, wants: Callable[[str], bool], models: Sequence[str]) -> dict[str, Any]:
    """Fields of the evidence: the rows of the parts that were asked for, and notes on them."""
    import numpy as np

    found: dict[str, Any] = {}
    notes: dict[str, str] = {}
    paths = {
        part: {name: root / f"{PARTS}/{name}.{file}" for name in models}
        for part, file in FILES.items()
    }
    if wants("next_passage"):
        asked = read_json(root / QUESTIONS)
        questions = [choices.Question(**row) for row in asked["questions"]]
        given = {name: read_json(path) for name, path in paths["next_passage"].items()}
        rows = []
        for task in dict.fromkeys(q.task for q in questions):
            mine = [n for n, q in enumerate(questions) if q.task == task]
            answers = {name: [all_[n] for n in mine] for name, all_ in given.items()}
            rows += choices.measure([questions[n] for n in mine], answers, SEED)
        if asked["next_item"]:
            rows.append(Choice.model_validate(asked["next_item"]))
        found["choices"] = rows
        if not questions:
            notes["choices"] = "No questions: no held-out document has five paragraphs in a row."
    if wants("retrieval"):
        asked = read_json(root / RETRIEVAL)
        passages = [retrieval.Passage(**row) for row in asked["passages"]]
        features = {name: np.load(path) for name, path in paths["retrieval"].items()}
        found["retrieval"] = retrieval.measure(passages, features, SEED) if passages else []
        notes["retrieval"] = asked["note"]
    if wants("memorization"):
        asked = read_json(root / WINDOWS)
        windows = [memorization.Window(**row) for row in asked["windows"]]
        flags = {name: read_json(path) for name, path in paths["memorization"].items()}
        found["memorization"], found["extraction"] = memorization.results(windows, flags)
        short = ", ".join(name for name, row in flags.items() if windows and not row)
        told = f"Built for fewer than 100 tokens, and left out: {short}." if short else ""
        if windows and not (short or found["memorization"]):
            told = "Left out: for some model no window's 100 tokens hold its first 50 words."
        notes["memorization"] = f"{asked['note']} {told}".strip()
    if wants("baselines"):
        sizes = [len(text.encode()) for text in general_texts()]
        found["general"] = [
            General(
                model=name,
                source=GENERAL_SOURCE,
                bits_per_byte=statistics.bits_per_byte(read_json(path), sizes),
                documents=len(sizes),
                bytes=sum(sizes),
            )
            for name, path in paths["baselines"].items()
        ]
    return found | {"notes": {part: note for part, note in notes.items() if note}}
