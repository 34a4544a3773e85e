import dataclasses
import datetime
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domainlm import pipeline, recipes
from domainlm.artifacts import read_json
from domainlm.corpus import documents, prompts, sources
from domainlm.corpus.extract import tidy
from domainlm.corpus.html import html_to_text
from domainlm.corpus.sections import LABEL, folder_sections, markdown_sections, read_html
from domainlm.errors import DomainLMError
from domainlm.recipe import Source

PROSE = "The company makes valves. Demand for valves rose in the year, as it did before. "


def write_tree(top: Path, groups: int = 6, years: int = 4) -> None:
    for group in range(groups):
        for year in range(2018, 2018 + years):
            path = top / f"company-{group}" / f"{year}-03-01.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"Report of company {group} for {year}. " + PROSE * (5 + group))


def run_corpus(tmp_path: Path, source: Path, *overrides: str) -> pipeline.Run:
    loaded = recipes.load(
        "folder", [f'source.path="{source}"', "evaluate.stock=[]", "engine.workers=1", *overrides]
    )
    run = pipeline.start(loaded, tmp_path / "runs", "t", True, "domainlm run")
    pipeline.execute(run, "corpus")
    return run


def rows(run: pipeline.Run) -> list[documents.Document]:
    return list(documents.read(documents.paths(run.root)))


@pytest.mark.slow
def test_folder_to_documents(tmp_path: Path) -> None:
    write_tree(tmp_path / "text")
    found = rows(run_corpus(tmp_path, tmp_path / "text"))
    assert len(found) == 24
    assert {d.group for d in found} == {f"company-{n}" for n in range(6)}
    assert found[0].date == datetime.date(2018, 3, 1)
    assert found[0].uri == "company-0/2018-03-01.txt"
    assert [d.uri for d in found] == sorted(d.uri for d in found)
    assert found[0].text.startswith("Report of company 0 for 2018.")


@pytest.mark.slow
def test_html_markdown_jsonl_parquet(tmp_path: Path) -> None:
    top = tmp_path / "text"
    write_tree(top, groups=2, years=1)
    (top / "web").mkdir()
    (top / "web" / "page.html").write_text(
        "<html><body><p>A <b>bo</b>ld claim.</p><p hidden style='display:none'>secret</p></body>"
    )
    (top / "web" / "note.md").write_text("# Heading\n\nSome words.")
    lines = [{"body": "first row", "who": "ann", "when": "2020-05-06T10:00:00Z"}, {"body": ""}]
    (top / "rows.jsonl").write_text("\n".join(json.dumps(r) for r in lines) + "\nnot json\n")
    table = pa.table(
        {"body": ["from parquet"], "who": ["bob"], "when": [datetime.date(2021, 1, 1)]}
    )
    pq.write_table(table, top / "rows.parquet")
    found = rows(
        run_corpus(tmp_path, top, "source.text=body", "source.group=who", "source.date=when")
    )
    by_uri = {d.uri: d for d in found}
    assert "bold claim" in by_uri["web/page.html"].text
    assert "secret" not in by_uri["web/page.html"].text
    row = by_uri["rows.jsonl#0"]
    assert (row.text, row.group, row.date) == ("first row", "ann", datetime.date(2020, 5, 6))
    assert by_uri["rows.parquet#0"].group == "bob"
    assert len(found) == 2 + 2 + 1 + 1


@pytest.mark.slow
def test_bad_files_are_counted_never_fatal_and_the_ledger_adds_up(tmp_path: Path) -> None:
    top = tmp_path / "text"
    write_tree(top)
    bad = top / "bad"
    bad.mkdir()
    (bad / "empty.txt").write_text("")
    (bad / "blank.txt").write_text(" \n\t ")
    (bad / "binary.txt").write_bytes(bytes(range(256)) * 20)
    (bad / "latin.txt").write_bytes("caf\xe9 \x93quoted\x94 and more words".encode("latin-1"))
    (bad / "broken.parquet").write_bytes(b"PAR1 no parquet")
    (bad / "broken.html").write_text("<p>unclosed <b>mark<div>up" * 3)
    (top / "company-0" / "copy.txt").write_text((top / "company-0" / "2018-03-01.txt").read_text())
    run = run_corpus(tmp_path, top)
    ledger = read_json(run.root / "corpus" / "ledger.json")
    assert set(ledger["skipped"]) == {"empty", "binary", "damaged"}
    assert ledger["skipped"]["empty"]["files"] == 2
    on_disk = sum(f.stat().st_size for f in top.rglob("*") if f.is_file())
    skipped = sum(s["bytes"] for s in ledger["skipped"].values())
    removed = sum(ledger["removed"].values())
    duplicates, kept = ledger["duplicates"]["bytes"], ledger["kept"]["bytes"]
    assert ledger["input"]["bytes"] == on_disk
    assert on_disk == skipped + removed + duplicates + kept
    assert kept == sum(len(d.text.encode()) for d in rows(run))
    assert kept == sum(s["bytes"] for s in ledger["splits"].values())
    assert ledger["duplicates"]["documents"] == 1
    latin = next(d for d in rows(run) if d.uri == "bad/latin.txt")
    assert latin.text == "café “quoted” and more words"


@pytest.mark.parametrize("mode", ["nothing", "all empty", "one group", "missing"])
def test_a_corpus_with_nothing_to_split_stops_clearly(tmp_path: Path, mode: str) -> None:
    top = tmp_path / "text"
    if mode != "missing":
        top.mkdir()
    if mode == "all empty":
        (top / "a.txt").write_text("")
    if mode == "one group":
        write_tree(top, groups=1)
    expected = {
        "nothing": "the corpus is empty",
        "all empty": "nothing is left",
        "one group": "too few groups to split: 1",
        "missing": "there is no corpus at",
    }[mode]
    with pytest.raises(DomainLMError, match=expected) as caught:
        run_corpus(tmp_path, top)
    assert caught.value.fix or caught.value.why


@pytest.mark.slow
def test_a_changed_file_alone_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "BATCH_BYTES", 2000)
    write_tree(tmp_path / "text")
    run_corpus(tmp_path, tmp_path / "text")
    (tmp_path / "text" / "company-0" / "2018-03-01.txt").write_text("Something new. " * 20)
    loaded = recipes.load("folder", [f'source.path="{tmp_path}/text"', "evaluate.stock=[]"])
    run = pipeline.start(loaded, tmp_path / "runs", "t", True, "x")
    stale = pipeline.plan(run)[0]
    assert stale.state == "stale"
    waves = pipeline.waves(run, "corpus")
    next(waves)
    reading = next(waves)
    assert len(reading) > 3
    assert [t.name for t in reading if run.manifest.why_stale(t)] == ["corpus/read-00000"]


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        (["**/*.py"], [], {"a.py", "x/b.py", "x/y/c.py"}),
        (["*.py"], [], {"a.py"}),
        (["**/*.py"], ["x/**"], {"a.py"}),
        (["x/?.py"], [], {"x/b.py"}),
        ([], [], {"x/d.txt"}),
    ],
)
def test_globs(tmp_path: Path, include: list[str], exclude: list[str], expected: set[str]) -> None:
    for name in ("a.py", "x/b.py", "x/y/c.py", "x/d.txt", ".hidden/e.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("text")
    source = Source(path=str(tmp_path), include=include, exclude=exclude)
    assert {e.path for e in sources.listing(source, [])} == expected


def test_a_glob_as_path_and_a_single_file(tmp_path: Path) -> None:
    write_tree(tmp_path / "text")
    source = Source(path=f"{tmp_path}/text/company-1/*.txt")
    assert len(sources.listing(source, [])) == 4
    source = Source(path=f"{tmp_path}/text/company-1/2018-03-01.txt")
    assert [e.path for e in sources.listing(source, [])] == ["2018-03-01.txt"]


@pytest.mark.slow
def test_a_random_split_is_not_what_this_is(tmp_path: Path) -> None:
    """Unseen groups stand only after the cut, and nothing of them before is trained on."""
    write_tree(tmp_path / "text", groups=20)
    run = run_corpus(tmp_path, tmp_path / "text", "split.cut=2021-01-01")
    found = rows(run)
    unseen = {d.group for d in found if d.split == "unseen"}
    assert len(unseen) == 4  # a fifth of twenty
    assert all(d.split == "unused" for d in found if d.group in unseen and d.date.year < 2021)
    assert {d.date.year for d in found if d.split == "seen"} == {2021}


def test_prompts_are_held_out_openings(tmp_path: Path) -> None:
    write_tree(tmp_path / "text", groups=12)
    run = run_corpus(tmp_path, tmp_path / "text", "evaluate.prompts=3")
    by_id = {d.id: d for d in rows(run)}
    chosen = read_json(run.root / "corpus" / "prompts.json")
    assert 1 <= len(chosen) <= 3
    for prompt in chosen:
        document = by_id[prompt["document_id"]]
        assert document.split in documents.HELD_OUT
        assert prompt["text"] + prompt["true_text"] in document.text


# --- sections of corpora that are no filings ------------------------------------------------

MARKDOWN = """---
title: no heading
date: 2020-01-01
---
lead

# Valves, a manual #
intro
```sh
# comment
```
Safety
------
two lines of a paragraph
are no title
---
## `C#` and C#
- ```py
  # code in a list
  ```
~~~
## code
~~~
    # indented
#hashtag
- an item
---
### third level
#
"""


def cut(text: str, found: tuple[documents.Section, ...]) -> list[tuple[str, str]]:
    return [(s.label, text[s.start : s.end]) for s in found]


def check(text: str, found: tuple[documents.Section, ...]) -> None:
    """Sections follow each other up to the end of the text."""
    assert [s.start for s in found[1:]] == [s.end for s in found[:-1]]
    assert not found or (found[0].start >= 0 and found[-1].end == len(text))
    assert all(s.start < s.end and s.label and len(s.label) <= LABEL for s in found)
    assert all(s.label == " ".join(s.label.split()) for s in found)


def test_markdown_is_cut_at_its_two_highest_levels() -> None:
    text = tidy(MARKDOWN)
    found = markdown_sections(text)
    check(text, found)
    labels = ["Valves, a manual", "Safety", "`C#` and C#"]
    assert [s.label for s in found] == labels
    starts = ("# Valves", "Safety\n---", "## `C#`")
    for (_, words), start in zip(cut(text, found), starts, strict=True):
        assert words.startswith(start)
    assert markdown_sections(text.replace("# Valves", "#### Valves"))[-1].label == "third level"
    assert markdown_sections("no heading\n\n    # code") == ()
    assert [s.label for s in markdown_sections("# " + "long " * 40)] == [("long " * 16).strip()]


words = st.text("ab#-=`é ", min_size=1, max_size=12).map(lambda t: f"w{t}w")
blocks = st.lists(
    st.one_of(
        st.tuples(st.integers(1, 6), words).map(lambda b: (b[0], b[1], f"{'#' * b[0]} {b[1]}")),
        st.tuples(st.integers(1, 2), words).map(
            lambda b: (b[0], b[1], f"{b[1]}\n{'==--'[b[0]] * 3}")
        ),
        words.map(lambda w: (0, w, f"{w}\n{w}")),
        words.map(lambda w: (0, w, f"```\n# {w}\n{w}\n===\n```")),
        words.map(lambda w: (0, w, f"> # {w}")),
    ),
    max_size=12,
)


@given(blocks)
def test_every_heading_of_two_levels_and_nothing_else(found: list[tuple[int, str, str]]) -> None:
    text = tidy("\n\n".join(block for *_, block in found))
    kept = sorted({level for level, *_ in found if level})[:2]
    expected = [(" ".join(w.split()), block) for level, w, block in found if level in kept]
    sections = markdown_sections(text)
    check(text, sections)
    assert [s.label for s in sections] == [label for label, _ in expected]
    for section, (_, block) in zip(sections, expected, strict=True):
        assert text[section.start :].startswith(block)


@given(st.text("#=-`~ \n\tab>|*1.:", max_size=200))
def test_any_markdown_has_sections_in_order(raw: str) -> None:
    text = tidy(raw)
    sections = markdown_sections(text)
    check(text, sections)
    for label, part in cut(text, sections):
        assert part.startswith("#") or part.startswith(label[:1])
        assert label[:20] in " ".join(part.split())


PAGE = """<html><head><title>A title</title><script>document.write("<h1>no</h1>")</script></head>
<body><div style="display:none"><h1>Hidden</h1></div><!-- <h1>comment</h1> -->
lead <H1 class="a">A manual<br>of   valves</H1><p>Some   words</p><h2> </h2>
<h2><a id=q></a><span> First </span> part</h2>text
<table><tr><td><h2>In a cell</h2></td><td>more</td></tr><tr><td>1</td><td>2</td></tr></table>
<h3>third</h3> x <h2>unclosed<p>paragraph</p><h4>low</h4><h2>First part</h2> &lt;h1>no&lt;/h1>
<h2></h2></body></html>"""


def test_html_is_cut_at_headings_that_are_shown() -> None:
    text, found = read_html(PAGE, "keep")
    check(text, found)
    assert text == tidy(html_to_text(PAGE))
    assert [s.label for s in found] == [
        "A manual of valves", "First part", "In a cell", "unclosed", "First part"
    ]  # fmt: skip
    for label, part in cut(text, found):
        assert " ".join(part.split()).startswith(label)
    assert read_html("<p>a</p><h4>b</h4>", "keep") == ("a\n\nb", ())
    assert read_html("<h3>a</h3>b", "keep")[1][0].label == "a"
    assert read_html("", "keep") == ("", ())


tags = ["<h1>", "</h1>", "<H2 a='>'>", "</h2>", "<h3 id=a>", "</h3 >", "<h1/>", "<p>", "</p>"]
tags += ["<b>", "</b>", "<br>", "<td>", "<table><tr><td>", "</table>", "<pre>", "</pre>", "<hr>"]
tags += ["<div hidden>", "</div>", "<!--", "-->", "<script>", "</script>", "one", " two ", "3\n"]


@given(st.lists(st.sampled_from(tags), max_size=25).map("".join))
def test_any_html_has_sections_in_order(html: str) -> None:
    text, found = read_html(html, "keep")
    check(text, found)
    assert not set(text) & set("\x14\x15\x16\x17") and text == tidy(text)
    assert text.split() == html_to_text(html).split() or "|" in text
    for label, part in cut(text, found):
        assert " ".join(part.split()).startswith(label)


@pytest.mark.parametrize(
    ("path", "group", "label"),
    [
        ("ann/letters/1.txt", "^([^/]+)/", "letters"),
        ("ann/old/letters/1.txt", "^([^/]+)/", "letters"),
        ("letters/ann.txt", r"([^/]+)\.txt$", "letters"),
        ("letters/1.txt", "file", "letters"),  # every file for itself
        ("letters/rows.jsonl", "author", "letters"),
        ("letters/1.txt", "^(x)?", "letters"),
        ("ann/1.txt", "^([^/]+)/", None),  # the folder is the group
        ("company-12/1.txt", r"company-(\d+)", None),
        ("letters/ann/1.txt", "folder", None),
        ("1.txt", "file", None),
        ("xml/dom/minidom.py", "^([^/.]+)", None),
    ],
)
def test_folders_below_the_group_are_sections(path: str, group: str, label: str | None) -> None:
    found = folder_sections(path, group, "text")
    assert found == ((documents.Section(label, 0, 4),) if label else ())


def test_sections_of_a_folder_of_notes(tmp_path: Path) -> None:
    top = tmp_path / "text"
    for who in "abcdef":
        for name, text in {
            "work/note.md": f"# Plan of {who}\n\n{PROSE}\n\n## Costs\n\n{PROSE}",
            "work/page.html": f"<h1>Page of {who}</h1><p>{PROSE}</p>",
            "work/plain.txt": f"{who} writes. # {PROSE}",
            "top.txt": f"# {who} again. {PROSE}",
            "work/rows.jsonl": json.dumps({"text": f"# {who} in a row. {PROSE}"}),
        }.items():
            (top / who / name).parent.mkdir(parents=True, exist_ok=True)
            (top / who / name).write_text(text)
    run = run_corpus(tmp_path, top, "source.group='^([^/]+)/'")
    found = {d.uri: [s.label for s in d.sections] for d in rows(run)}
    assert found["a/work/note.md"] == ["Plan of a", "Costs"]
    assert found["a/work/page.html"] == ["Page of a"]
    assert found["a/work/plain.txt"] == found["a/work/rows.jsonl#0"] == ["work"]
    assert found["a/top.txt"] == []


def sectioned(number: int, *sections: tuple[str, tuple[str, ...]]) -> documents.Document:
    """A held-out document of long sections, given by their labels and flags."""
    text, spans = "", []
    for label, flags in sections:
        start = len(text)
        text += f"{label} of {number}. " + PROSE * 15
        spans.append(documents.Section(label, start, len(text), flags))
    return documents.Document(
        f"d{number}", f"g{number}", None, f"t{number}", f"u{number}", "0" * 64, text,
        tuple(spans), "unseen",
    )  # fmt: skip


def test_openings_are_of_sections_without_doubts(tmp_path: Path) -> None:
    path = tmp_path / "d.parquet"
    flags = ("not_found", "incorporated_by_reference", "suspicious_size")
    doubtful = [sectioned(n, ("Item 1A", (flag,)), ("Item 9", ())) for n, flag in enumerate(flags)]
    documents.write(path, doubtful)
    assert {p["source"][4:] for p in prompts.choose([path], 3, 1, False)} == {"Item 9"}
    documents.write(path, [sectioned(1, ("Item 9", ()), ("Item 7", ()))])
    assert prompts.choose([path], 1, 1, False)[0]["source"] == "t1, Item 7"


def test_of_filings_one_prompt_opens_a_table(tmp_path: Path) -> None:
    path = tmp_path / "d.parquet"
    plain, rich = sectioned(1, ("Item 7", ())), sectioned(2, ("Item 7", ()))
    rows_ = "\n".join(f"Segment {n} | {n},000 | {n + 1},000" for n in range(60))
    told = f"The following table sets forth sales of our segments:\n\nName | 2021 | 2020\n{rows_}\n"
    rich = dataclasses.replace(rich, text=f"{rich.text}\nAs before. {told}\nAfter it. {PROSE}")
    documents.write(path, [plain, rich])
    table, *classics = prompts.choose([path], 4, 1, True)[2:]
    assert table["id"] == "table-1" and table["document_id"] == "d2"
    assert table["text"] == told[: told.index("2020") + 4]
    assert table["true_text"].startswith("\nSegment 0 | 0,000 | 1,000")
    assert len(classics) == 2 and not any("table" in row["text"] for row in classics)
    documents.write(path, [plain])
    assert [row["source"] for row in prompts.choose([path], 4, 1, True)][1:] == ["classic"] * 3
    assert prompts.choose([path], 0, 1, True) == []


def test_openings_take_turns_by_frequency(tmp_path: Path) -> None:
    path = tmp_path / "d.parquet"
    labels = [(f"Title {n}", "Costs", "Zeal", "Aims") for n in range(9)]
    found = [sectioned(n, *((label, ()) for label in own)) for n, own in enumerate(labels)]
    found.append(sectioned(9, ("Costs", ())))
    documents.write(path, found)
    chosen = [p for p in prompts.choose([path], 10, 1, False) if p["document_id"] != "d9"]
    assert {p["source"].split(", ")[1] for p in chosen} == {"Costs", "Aims", "Zeal"}
    assert chosen == [p for p in prompts.choose([path], 10, 1, False) if p["document_id"] != "d9"]
    assert all(p["text"].startswith(p["source"].split(", ")[1]) for p in chosen)


def test_a_document_survives_its_file(tmp_path: Path) -> None:
    document = documents.Document(
        "id", "group", datetime.date(2020, 2, 29), "title", "uri", "sha", "Text — ünïcode",
        (documents.Section("Item 1", 0, 4, ("suspicious_size",)),), "train", (("form", "10-K"),),
    )  # fmt: skip
    documents.write(tmp_path / "d.parquet", [document])
    assert list(documents.read([tmp_path / "d.parquet"])) == [document]
    assert list(documents.read([tmp_path / "d.parquet"], ["seen"])) == []
    assert dataclasses.replace(document, split="seen").row()["split"] == "seen"
