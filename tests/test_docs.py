"""The examples of README.md and docs/ hold: commands and code of the pages are run as they stand.

A block that cannot be run here says so behind its language: ```sh no-run (why). A block of TOML
whose first line is a comment with a file's name is written to that file.
"""

import dataclasses
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer

from domainlm import recipes
from domainlm.cli import app
from domainlm.samples import edgar
from small import write_stock

TOP = Path(__file__).resolve().parents[1]
PAGES = sorted(p for p in (TOP / "docs").glob("*.md") if p.name != "lab-notes.md")
LINES = 100  # two screens
NOT_RUN = Counter({  # (page, why): look at a new one before it is added
    ("filings.md", "asks the SEC"): 1,
    ("loading.md", "llama.cpp"): 2,
    ("loading.md", "vLLM"): 1,
    ("scale.md", "a cluster"): 1,
    ("use-the-model.md", "llama.cpp, vLLM"): 1,
})  # fmt: skip
BASE = """
[source]
path = "corpus"
[[train]]
name = "scratch"
model = "modern-tiny"
tokens = 1
"""


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block; `why` it is not run, where it is not."""

    page: str
    line: int
    language: str
    why: str | None
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for found in re.finditer(r"(?ms)^```(\w*)(?: no-run \((.+?)\))?\n(.*?)^```$", text):
        yield Block(page.name, text.count("\n", 0, found.start()) + 1, *found.groups())


ALL = [block for page in (TOP / "README.md", *PAGES) for block in blocks(page)]


def test_every_fence_is_one_of_these_blocks() -> None:
    fences = sum(page.read_text().count("\n```") for page in (TOP / "README.md", *PAGES))
    assert fences == 2 * len(ALL)
    assert {b.language for b in ALL} <= {"sh", "toml", "python", ""}


def test_what_is_not_run_is_known() -> None:
    assert Counter((b.page, b.why) for b in ALL if b.why) == NOT_RUN


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_is_two_screens_and_its_links_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    assert len(text.splitlines()) <= LINES
    for link, anchor in re.findall(r"\]\((?!https?:)([\w./-]*)(?:#([\w-]+))?\)", text):
        target = (page.parent / link).resolve() if link else page
        assert target.is_file(), link
        heads = re.findall(r"(?m)^#+ (.*)$", target.read_text()) if anchor else [anchor]
        assert not anchor or anchor in {re.sub(r"[^\w-]", "", h.lower().replace(" ", "-"))
                                        for h in heads}  # fmt: skip
    for path in re.findall(r"`((?:benchmarks|tests|src)/[\w./-]+)`?", text):
        assert (TOP / path).exists(), path


# --- recipes and commands -------------------------------------------------------------------


def whole(text: str) -> dict[str, Any]:
    """The values of a recipe, or of a part of one on top of a small one."""
    base, values = tomllib.loads(BASE), tomllib.loads(text)
    for name, part in values.items():
        if name == "train" and "name" not in part[0]:
            base["train"][0] |= part[0]
        elif isinstance(part, dict):
            base[name] = base.get(name, {}) | part
        else:
            base[name] = part
    return base


@pytest.mark.parametrize("block", [b for b in ALL if b.language == "toml"], ids=str)
def test_a_recipe_loads(block: Block) -> None:
    recipes.validate(whole(block.text), str(block))


def commands(text: str) -> Iterator[list[str]]:
    """The arguments of every `domainlm` in lines of a shell."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        for n, word in enumerate(words):
            if word.rsplit("/", 1)[-1] == "domainlm" and words[n - 1 : n] != ["-m"]:
                assert n == 0
            elif not (word == "domainlm" and n):
                continue
            arguments = words[n + 1 :]
            yield arguments[: arguments.index(">")] if ">" in arguments else arguments
            break


def parse(arguments: list[str], whole: bool = True) -> dict[str, Any]:
    """The values of a command line, by the parser of the real one; raises as that does."""
    command: Any = typer.main.get_command(app)
    context = command.make_context("domainlm", list(arguments))
    while rest := [*context._protected_args, *context.args]:
        name, command, rest = command.resolve_command(context, rest)
        try:
            context = command.make_context(name, rest, parent=context)
        except Exception as error:  # of click, or of the copy of it that typer has
            if whole or type(error).__name__ != "MissingParameter":
                raise
            return {}
    return dict(context.params)


def test_the_parser_of_this_test_refuses_what_the_real_one_does() -> None:
    assert parse(["recipes", "show", "demo"]) == {"name": "demo"}
    for wrong in (["rum", "x"], ["run"], ["run", "x", "--untl", "y"], ["recipes", "shw", "x"]):
        with pytest.raises(Exception) as error:
            parse(wrong)
        assert getattr(error.value, "exit_code", 0) == 2, error.value
    assert list(commands("a/domainlm run x > y # z\ntorchrun -m domainlm run \\\n  w")) == [
        ["run", "x"], ["run", "w"],
    ]  # fmt: skip


@pytest.mark.parametrize("block", [b for b in ALL if b.language == "sh"], ids=str)
def test_verbs_flags_and_keys_of_commands_are_there(block: Block, tmp_path: Path) -> None:
    for arguments in commands(block.text):
        values = parse(arguments)
        if overrides := values.get("overrides"):
            recipe = values["recipe"]
            if recipe not in recipes.built_in():
                recipe = str(tmp_path / "recipe.toml")
                Path(recipe).write_text(BASE)
            recipes.load(recipe, [*overrides, 'source.path="corpus"'])


@pytest.mark.parametrize("page", [TOP / "README.md", *PAGES], ids=lambda page: page.name)
def test_commands_in_sentences_are_there(page: Path) -> None:
    text = re.sub(r"(?ms)^```.*?^```$", "", page.read_text())
    for line in re.findall(r"`domainlm ([^`]*)`", text):
        parse([re.sub("^N$", "1", word) for word in shlex.split(line)], whole=False)


# --- the pages, run -------------------------------------------------------------------------


def furnish(folder: Path, finished: Path) -> None:
    """What the pages speak of: a run, a corpus as a folder and a table, filings, a stock model."""
    (folder / "runs").mkdir(parents=True)
    shutil.copytree(finished / "runs" / "small", folder / "runs" / "mine")
    shutil.copytree(finished / "text", folder / "letters")
    texts = sorted((folder / "letters").rglob("*.txt"))
    rows = [{"body": p.read_text(), "author": p.parent.name, "day": p.stem} for p in texts]
    pq.write_table(pa.Table.from_pylist(rows), folder / "data.parquet")
    edgar.write(folder / "filings", companies=8, years=3)
    write_stock(folder / "openai-community" / "gpt2")  # a folder comes before the Hub's name


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_blocks_of_a_page_run_in_their_order(
    page: Path, finished: Path, tmp_path: Path
) -> None:
    furnish(tmp_path / "home", finished)
    tools = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": tools, "HF_HUB_OFFLINE": "1"}
    for block in blocks(page):
        if block.language == "toml" and (named := re.match(r"# ([\w-]+\.toml)\n", block.text)):
            (tmp_path / "home" / named[1]).write_text(block.text)
    runnable = (b for b in blocks(page) if not b.why and b.language in ("sh", "python"))
    for language, part in groupby(runnable, lambda block: block.language):
        script = "\n".join(block.text for block in part)  # blocks of Python are one program
        arguments = [sys.executable, "-c"] if language == "python" else ["bash", "-euc"]
        done = subprocess.run([*arguments, script], cwd=tmp_path / "home", env=environment,
                              capture_output=True, text=True)  # fmt: skip
        assert done.returncode == 0, f"{script}\n{done.stderr}"
