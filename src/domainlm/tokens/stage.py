"""The stage `tokens`: a tokenizer, shards for each document file, and their index.

Arms from scratch read `tokens/`; an arm that trains a pretrained model on reads a folder of its
own (`tokens/stock/` or `tokens/ARM/`) with the same layout and that model's tokenizer.
"""

from collections.abc import Iterator

from domainlm.artifacts import Run, Task
from domainlm.corpus import documents
from domainlm.tokens import encode, tokenizer


def folder_of(init: str, arm: str) -> str:
    """Where the shards of an arm that starts from `init` are."""
    return "tokens/stock" if init == "stock" else f"tokens/{arm}"


def waves(run: Run) -> Iterator[list[Task]]:
    """Tokenizers, then shards, then indexes."""
    files = [p.relative_to(run.root).as_posix() for p in documents.paths(run.root)]
    folders = {"tokens": _domain(run, files)}
    for arm in run.recipe.train:
        if arm.init is None or (arm.init == "stock" and run.stock is None):
            continue
        name = run.stock.name if arm.init == "stock" and run.stock else arm.init
        folder = folder_of(arm.init, arm.name)
        folders[folder] = _given(folder, name, run)
    yield list(folders.values())
    yield [
        Task(
            f"{folder}/encode-{number:05d}",
            encode.encode,
            {"folder": folder, "documents": file, "number": number},
            (file, f"{folder}/tokenizer.json", f"{folder}/tokenizer_config.json"),
            (
                *(
                    f"{folder}/{s}-{number:05d}{e}"
                    for s in documents.TRAINED
                    for e in (".bin", ".ends")
                ),
                f"{folder}/encoded-{number:05d}.json",
            ),
        )
        for folder in folders
        for number, file in enumerate(files)
    ]
    yield [
        Task(
            f"{folder}/index",
            encode.index,
            {"folder": folder, "count": len(files)},
            tuple(f"{folder}/encoded-{n:05d}.json" for n in range(len(files))),
            (f"{folder}/index.json",),
        )
        for folder in folders
    ]


def _domain(run: Run, files: list[str]) -> Task:
    if run.recipe.tokens.tokenizer:
        return _given("tokens", run.recipe.tokens.tokenizer, run)
    return Task(
        "tokens/tokenizer",
        tokenizer.train,
        run.recipe.tokens.model_dump(mode="json", include={"vocabulary", "sample_bytes"}),
        tuple(files),
        ("tokens/tokenizer.json", "tokens/tokenizer_config.json"),
    )


def _given(folder: str, name: str, run: Run) -> Task:
    stock = run.stock
    sha256 = stock.sha256 if stock is not None and stock.name == name else ""
    return Task(
        f"{folder}/tokenizer",
        tokenizer.take,
        {"folder": folder, "name": name, "sha256": sha256},
        (),
        (f"{folder}/tokenizer.json", f"{folder}/tokenizer_config.json"),
    )
