"""`domainlm.load`: a run in Python, shown safely, with models that are ready to use."""

import html.parser
import math
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import domainlm
from domainlm.artifacts import write_json
from domainlm.errors import DomainLMError
from domainlm.report import tables, view, words
from provenance_helpers import finished_run
from report_examples import HOSTILE, TITLES, example
from small import domainlm as command


def test_importing_domainlm_is_light() -> None:
    code = "import sys, domainlm; print(sorted({'torch', 'numpy', 'pyarrow', 'pydantic', " + (
        "'domainlm.notebook'} & set(sys.modules)), callable(domainlm.load))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] True"


def test_a_finished_run_has_what_a_notebook_wants(finished: Path) -> None:
    run = domainlm.load(finished / "runs" / "small")
    assert run.recipe.name == "small" and run.report.is_file()
    assert str(run.root) in repr(run) and len(repr(run)) < 300
    rows = [r for r in run.documents.to_pylist() if (r["model"], r["split"]) == ("xz", "unseen")]
    [told] = [r for r in run.evidence.loss if (r.model, r.split) == ("xz", "unseen")]
    again = sum(r["nats"] for r in rows) / (math.log(2) * sum(r["bytes"] for r in rows))
    assert again == pytest.approx(told.bits_per_byte)


@pytest.mark.parametrize("name", ["scratch", "continued", "stock"])
def test_a_model_is_ready(finished: Path, name: str) -> None:
    run = domainlm.load(str(finished / "runs" / "small"))
    model, tokenizer = run.model(name)
    assert not model.training
    assert sum(p.numel() for p in model.parameters()) == run.evidence.models[name].parameters
    ids = tokenizer("Sales of the", return_tensors="pt").to(model.device)
    written = model.generate(**ids, max_new_tokens=4, do_sample=False, pad_token_id=0)
    assert tokenizer.decode(written[0]).startswith("Sales of the")


def test_what_is_not_there_is_said(finished: Path, tmp_path: Path) -> None:
    run = domainlm.load(finished / "runs" / "small")
    for name in ("xz", "nobody"):
        with pytest.raises(DomainLMError, match=name) as error:
            run.model(name)
        assert "stock, scratch, continued" in error.value.why
    with pytest.raises(DomainLMError, match="not a run directory") as error:
        domainlm.load(tmp_path / "nowhere")
    assert "no such folder" in error.value.why
    with pytest.raises(DomainLMError, match="not a run directory") as error:
        domainlm.load(tmp_path)
    assert "no recipe.toml" in error.value.why


@pytest.mark.slow
def test_the_command_of_the_error_finishes_the_run(finished: Path, tmp_path: Path) -> None:
    root = tmp_path / "my runs" / "half"
    shutil.copytree(finished / "runs" / "small", root)
    (root / "evaluation" / "evidence.json").unlink()
    with pytest.raises(DomainLMError, match="no evidence yet") as error:
        domainlm.load(root)
    verb, *arguments = shlex.split(error.value.fix)
    assert verb == "domainlm"
    done = command(*arguments, "--offline", cwd=tmp_path)
    assert "train: nothing to do" in done.stderr
    assert domainlm.load(root).evidence.gaps


# --- what a notebook shows ------------------------------------------------------------------


class Seen(html.parser.HTMLParser):
    """The tags that an element holds, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        assert tag == "div" or not attrs

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def shown(root: Path) -> Seen:
    seen = Seen()
    seen.feed(domainlm.load(root)._repr_html_())
    return seen


def test_a_notebook_shows_the_verdict_and_the_losses_of_the_report(tmp_path: Path) -> None:
    evidence = finished_run(tmp_path / "run")
    seen, table = shown(tmp_path / "run"), tables.loss(evidence)
    said = [words.headline(evidence), *words.verdict(evidence), table.caption, *table.heads]
    for text in [*said, *(cell for row in table.rows for cell in row)]:
        assert text in seen.text
    assert len(table.rows) > 5


def test_hostile_text_is_text(tmp_path: Path) -> None:
    finished_run(tmp_path / "run")
    titles = {name: f"{HOSTILE} {name}" for name in TITLES}
    evidence = example(name=HOSTILE, titles=titles, notices=(HOSTILE,))
    write_json(tmp_path / "run" / "evaluation" / "evidence.json", evidence.model_dump())
    seen = shown(tmp_path / "run")
    page = domainlm.load(tmp_path / "run")._repr_html_()
    assert seen.tags == {"div", "p", "b", "ol", "li", "table", "caption", "thead", "tbody", "tr",
                         "th", "td", "code"}  # fmt: skip
    assert view.label(view.tidy(evidence), "stock") in seen.text
    assert "<script>" not in page and "\x1b" not in page and "\u202e" not in page
    assert "tex2jax_ignore" in page  # or a notebook takes $...$ for mathematics
