import dataclasses
import datetime
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domainlm import pipeline, recipe
from domainlm.artifacts import read_json
from domainlm.corpus import documents, sources, split
from domainlm.errors import DomainLMError
from domainlm.recipe import Source, Split

PROSE = "The company makes valves. Demand for valves rose in the year, as it did before. "


def write_tree(top: Path, groups: int = 6, years: int = 4) -> None:
    for group in range(groups):
        for year in range(2018, 2018 + years):
            path = top / f"company-{group}" / f"{year}-03-01.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"Report of company {group} for {year}. " + PROSE * (5 + group))


def run_corpus(tmp_path: Path, source: Path, *overrides: str) -> pipeline.Run:
    loaded = recipe.load(
        "folder", [f'source.path="{source}"', "evaluate.stock=[]", "engine.workers=1", *overrides]
    )
    run = pipeline.start(loaded, tmp_path / "runs", "t", True, "domainlm run")
    pipeline.execute(run, "corpus")
    return run


def rows(run: pipeline.Run) -> list[documents.Document]:
    return list(documents.read(documents.paths(run.root)))


def test_folder_to_documents(tmp_path: Path) -> None:
    write_tree(tmp_path / "text")
    found = rows(run_corpus(tmp_path, tmp_path / "text"))
    assert len(found) == 24
    assert {d.group for d in found} == {f"company-{n}" for n in range(6)}
    assert found[0].date == datetime.date(2018, 3, 1)
    assert found[0].uri == "company-0/2018-03-01.txt"
    assert [d.uri for d in found] == sorted(d.uri for d in found)
    assert found[0].text.startswith("Report of company 0 for 2018.")


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


def test_a_changed_file_alone_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "BATCH_BYTES", 2000)
    write_tree(tmp_path / "text")
    run_corpus(tmp_path, tmp_path / "text")
    (tmp_path / "text" / "company-0" / "2018-03-01.txt").write_text("Something new. " * 20)
    loaded = recipe.load("folder", [f'source.path="{tmp_path}/text"', "evaluate.stock=[]"])
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


dates = st.none() | st.dates(datetime.date(2000, 1, 1), datetime.date(2025, 1, 1))
items = st.lists(st.tuples(st.integers(0, 8), dates), min_size=2, max_size=60).map(
    lambda found: [split.Item(str(n), f"g{g}", d, str(n)) for n, (g, d) in enumerate(found)]
)


@given(items, st.floats(0.05, 0.9), st.integers(0, 5))
def test_no_group_is_on_both_sides(found: list[split.Item], unseen: float, seed: int) -> None:
    rule = Split(newest=0.3, unseen=unseen, seed=seed)
    try:
        where, cut = split.assign(found, rule)
    except DomainLMError:
        return
    groups = {s: {i.group for i in found if where[i.id] == s} for s in documents.SPLITS}
    trained = groups["train"] | groups["validation"]
    assert not groups["unseen"] & (trained | groups["seen"])
    assert not groups["unused"] & (trained | groups["seen"])
    for item in found:
        later = cut is not None and item.date is not None and item.date >= cut
        assert where[item.id] in (
            ("seen", "unseen") if later else ("train", "validation", "unused", "unseen")
        )
        if where[item.id] == "unseen":
            assert later or cut is None
    assert set(where) == {i.id for i in found}


@given(items, st.integers(0, 5))
def test_the_split_does_not_depend_on_order(found: list[split.Item], seed: int) -> None:
    rule = Split(seed=seed)
    try:
        where, _ = split.assign(found, rule)
    except DomainLMError:
        return
    assert split.assign(found[::-1], rule)[0] == where


def test_the_first_of_equal_texts_is_kept() -> None:
    early, late = datetime.date(2001, 1, 1), datetime.date(2002, 1, 1)
    found = [
        split.Item("late", "a", late, "same"),
        split.Item("early", "b", early, "same"),
        split.Item("other", "b", None, "other"),
        split.Item("undated", "c", None, "same"),
    ]
    assert split.duplicates(found) == {"late", "undated"}


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


def test_a_document_survives_its_file(tmp_path: Path) -> None:
    document = documents.Document(
        "id", "group", datetime.date(2020, 2, 29), "title", "uri", "sha", "Text — ünïcode",
        (documents.Section("Item 1", 0, 4, ("suspicious_size",)),), "train", (("form", "10-K"),),
    )  # fmt: skip
    documents.write(tmp_path / "d.parquet", [document])
    assert list(documents.read([tmp_path / "d.parquet"])) == [document]
    assert list(documents.read([tmp_path / "d.parquet"], ["seen"])) == []
    assert dataclasses.replace(document, split="seen").row()["split"] == "seen"
