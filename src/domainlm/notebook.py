"""A finished run in Python: `domainlm.load("runs/NAME")`, for notebooks."""

import dataclasses
import os
import shlex
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from markupsafe import Markup

from domainlm import pretrained, recipes
from domainlm.errors import DomainLMError
from domainlm.evaluation import evidence as evidences
from domainlm.evaluation import models
from domainlm.evaluation.evidence import Evidence
from domainlm.recipe import Recipe
from domainlm.report import tables, view, words


@dataclasses.dataclass(frozen=True)
class FinishedRun:
    """A run directory that has evidence. A notebook shows it as its verdict and its losses."""

    root: Path
    recipe: Recipe = dataclasses.field(repr=False)
    evidence: Evidence = dataclasses.field(repr=False)

    @property
    def report(self) -> Path:
        """The report's page."""
        return self.root / "report" / "index.html"

    @property
    def documents(self) -> pa.Table:
        """What was measured: one row a model, split and held-out document, with bytes and nats.

        With pandas installed, `.to_pandas()` makes a frame of it.
        """
        return pq.read_table(self.root / "evaluation" / "documents.parquet")

    def folder(self, name: str) -> Path:
        """The Hugging Face folder of a measured model: an arm, "stock", or one from outside.

        Raises `DomainLMError` where the run has no such model, or the machine has it no longer.
        """
        known = {n: m for n, m in self.evidence.models.items() if m.sha256}  # compressors have none
        if name not in known:
            raise DomainLMError(
                f"the run has no model {name!r}",
                where=str(self.root),
                why=f"it has {', '.join(known) or 'none'}",
            )
        if known[name].role in view.ARMS:
            return self.root / "models" / name
        return pretrained.relocate(known[name].source, known[name].sha256 or "").path

    def model(self, name: str) -> tuple[Any, Any]:
        """(model, tokenizer) of transformers, ready for `generate`: on the GPU where there is one.

        In eval mode and without gradients; to train on, load `folder(name)` yourself. Raises as
        `folder` does, or where the weights are damaged.
        """
        from transformers import AutoTokenizer

        folder = self.folder(name)
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        return models.load(folder)[0], tokenizer

    def _repr_html_(self) -> str:
        """Verdict and table of losses as the report has them; all text is escaped."""
        found = view.tidy(self.evidence)
        table = tables.loss(found)
        rows = [Markup("<tr>{}</tr>").format(_each("td", row)) for row in table.rows]
        return Markup(  # the classes keep a notebook from reading $...$ as mathematics
            '<div class="tex2jax_ignore mathjax_ignore"><p><b>{}</b></p>{}<ol>{}</ol>'
            "<table><caption>{}</caption><thead><tr>{}</tr></thead><tbody>{}</tbody></table>"
            "<p><code>{}</code></p></div>"
        ).format(
            words.headline(found),
            _each("p", found.notices),
            _each("li", words.verdict(found)),
            table.caption,
            _each("th", table.heads),
            Markup("").join(rows),
            self.report,
        )


def _each(tag: str, texts: list[str]) -> Markup:
    """Every text in an element of its own, escaped."""
    return Markup("").join(Markup(f"<{tag}>{{}}</{tag}>").format(text) for text in texts)


def open_run(path: str | os.PathLike[str]) -> FinishedRun:
    """The run in the folder `path`; raises `DomainLMError` where it is none, or not finished."""
    root = Path(path).expanduser()
    if not (root / "recipe.toml").is_file():
        raise DomainLMError(
            f"{root} is not a run directory",
            why="it has no recipe.toml" if root.is_dir() else "there is no such folder",
            fix="give the folder that `domainlm run` made, such as runs/demo",
        )
    if not (root / "evaluation" / "evidence.json").is_file():
        raise DomainLMError(
            "the run has no evidence yet",
            where=str(root),
            why="it was stopped, or run with --until, before the stage evaluate",
            fix=shlex.join(["domainlm", "run", str(root / "recipe.toml"),
                            "--runs", str(root.parent), "--name", root.name]),
        )  # fmt: skip
    return FinishedRun(root, recipes.load(str(root / "recipe.toml")), evidences.load(root))
