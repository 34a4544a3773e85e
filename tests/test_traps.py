"""The 28 traps that an extractor of annual reports must survive, against their exact truth."""

import collections
import itertools
import re
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from domainlm import pipeline, recipes
from domainlm.artifacts import read_json
from domainlm.corpus import documents
from domainlm.corpus.documents import Section
from domainlm.corpus.edgar.filing import read_filing
from domainlm.corpus.edgar.tree import Filing
from domainlm.corpus.extract import Unreadable
from domainlm.samples.company import filings, found
from domainlm.samples.layout import document
from domainlm.samples.reports import Case, Item
from domainlm.samples.traps import TRAPS, Trap

LONG = 2000  # characters: an item of so many is no pointer
SWALLOWED = 3000  # characters of somebody else's that an item may not take in silently
EXAMPLES = {7: 30, 26: 1}
CORE = ("Item 1", "Item 1A", "Item 7", "Item 8", "Items 1 and 2")
BY_NAME = {t.name: t for t in TRAPS}


def squeezed(text: str) -> str:
    """Without white space and the bars between cells."""
    return re.sub(r"[\s|]+", "", text)


def words(text: str) -> str:
    return " ".join(text.split())


def read(case: Case, tables: str = "keep") -> tuple[str, tuple[Section, ...]]:
    filing = Filing("a/report.txt", case.form, "", "", None, None, "")
    text, sections, _ = read_filing(case.data, filing, tables)
    return text, sections


def expect(case: Case, tables: str = "keep") -> None:
    """The truth of the case, to the letter."""
    if case.refused:
        with pytest.raises(Unreadable) as refusal:
            read(case, tables)
        assert refusal.value.args == (case.refused,)
        return
    text, sections = read(case, tables)
    flat, tight = words(text), squeezed(text)
    for phrase in case.absent:
        assert squeezed(phrase) not in tight, f"leaked: {phrase[:200]}"
    for phrase in case.shown:
        assert words(phrase) in flat, f"lost: {phrase[:200]}"
    for section in sections:
        empty = section.start == section.end
        assert empty == ("not_found" in section.flags), f"{section}: empty, or not found"
    twice = [k for k, n in collections.Counter(s.label for s in sections).items() if n > 1]
    assert not twice, f"labels more than once: {twice}"
    there = [s for s in sections if s.start < s.end]
    for one, other in itertools.pairwise(sorted(there, key=lambda s: s.start)):
        assert one.end <= other.start, f"{one.label} and {other.label} overlap"
    spans = {s.label: text[s.start : s.end] for s in there}
    if case.lenient:
        expect_right_or_missing(case, spans, {s.label for s in sections})
        return
    assert list(spans) == [i.label for i in case.items], f"{list(spans)}"
    flags = {s.label: s.flags for s in there}
    for item in case.items:
        expect_item(item, spans[item.label], flags[item.label], tables)
    for label, flag in case.flags.items():
        assert flag in flags[label], f"{label}: no {flag}, but {flags[label]}"


def expect_item(item: Item, span: str, flags: tuple[str, ...], tables: str) -> None:
    printed = [p for p in item.printed if tables == "keep" or "\t" not in p]
    body = squeezed("".join((item.heading, *printed)))
    tail, tight = squeezed("".join(item.tail)), squeezed(span)
    if tail and tight == body + tail:
        assert len(tail) < SWALLOWED or "suspicious_size" in flags, f"{item.label} swallows more"
        return
    both = itertools.takewhile(lambda p: p[0] == p[1], zip(tight, body, strict=False))
    same = sum(1 for _ in both)
    assert tight == body, (
        f"{item.label} has {len(tight)} characters, not {len(body)}: after "
        f"{tight[max(0, same - 60) : same]!r} comes {tight[same : same + 80]!r}, "
        f"not {body[same : same + 80]!r}"
    )
    flat, rows = words(span), [re.split(r" \| |  +", line.strip()) for line in span.split("\n")]
    at = 0
    for text in printed:
        if "\t" in text:
            assert text.strip("\t").split("\t") in rows, f"{item.label}: the row {text!r} is broken"
        else:
            at = flat.find(words(text), at)
            assert at >= 0, f"{item.label}: {text[:200]!r} is broken"
    if len(body) > LONG and item.label in CORE:
        assert "incorporated_by_reference" not in flags


def expect_right_or_missing(case: Case, spans: dict[str, str], labels: set[str]) -> None:
    """Every item is right or said to be missing; nothing of it is in any other item."""
    for item in case.items:
        assert item.label in labels, f"{item.label} is not even said to be missing"
        for label, span in spans.items():
            flat = words(span)
            for text in item.printed:
                where = words(text) in flat
                assert where == (label == item.label), f"{text[:99]!r} ({item.label}) in {label}"


@pytest.mark.slow
@pytest.mark.parametrize("trap", TRAPS, ids=[f"{t.number}-{t.name}" for t in TRAPS])
def test_trap(trap: Trap) -> None:
    @given(seed=st.integers(0, 2**20), year=st.integers(0, 40))
    @settings(
        max_examples=EXAMPLES.get(trap.number, 6),
        print_blob=True,
        phases=[Phase.reuse, Phase.generate],  # a smaller seed is no smaller filing
        suppress_health_check=list(HealthCheck),
    )
    def holds(seed: int, year: int) -> None:
        case = trap.case(seed, year)
        assert trap.number != 26 or len(case.data) > 5_000_000
        start = time.process_time()
        expect(case)
        assert time.process_time() - start < 2 + 5 * len(case.data) / 1e6

    holds()


@pytest.mark.parametrize("name", ["eras", "SGML", "facts", "glue"])
def test_numeric_tables_can_be_left_out(name: str) -> None:
    for seed in range(6):
        expect(BY_NAME[name].case(seed, seed * 5), "drop")


def test_every_number_has_its_traps() -> None:
    assert {t.number for t in TRAPS} == set(range(1, 29))
    assert all(t.source for t in TRAPS)
    assert len(BY_NAME) == len(TRAPS)


def test_a_seed_fixes_the_case_and_bodies_are_of_many_words() -> None:
    for trap in TRAPS[::3]:
        if trap.number != 26:
            assert trap.case(3, 5) == trap.case(3, 5), trap.name
    for seed in range(20):
        for item in BY_NAME["eras"].case(seed, seed).items:
            if item.label in CORE:
                assert sum(len(p.split()) for p in item.printed) > 150, item.label


@pytest.mark.parametrize("exhibits", [False, True])
@pytest.mark.slow
def test_duplicates_co_registrants_exhibits_and_empty_filings(
    tmp_path: Path, exhibits: bool
) -> None:
    """28 and 25 through the whole corpus stage: what is kept, dropped and counted."""
    with_exhibits, shared = BY_NAME["exhibits"].case(1, 2), BY_NAME["co-registrants"].case(2, 3)
    plain = {(cik, year): BY_NAME["10-KT"].case(cik, year) for cik in (1, 2, 3) for year in (1, 2)}
    files = {
        "edgar/data/11/0000000011-20-000001.txt": (11, with_exhibits.data),
        # One report of two filers, and a third filing with the same bytes.
        "edgar/data/12/0000000012-20-000001.txt": (12, shared.data),
        "edgar/data/9999999/0000000012-20-000001.txt": (9_999_999, shared.data),
        "edgar/data/12/0000000012-20-000009.txt": (12, shared.data),
        "edgar/data/13/0000000013-20-000001.txt": (13, b""),
        **{f"edgar/data/{c}/000000000{c}-2{y}-000001.txt": (c, case.data)
           for (c, y), case in plain.items()},
    }  # fmt: skip
    # The same risks year after year: the company stands on one side of the split.
    company = found(5, 1)
    for report in filings(company, range(2016, 2024), 1):
        name = f"edgar/data/{company.cik}/{company.cik:010}-{report.filed:%y}-000001.txt"
        files[name] = (company.cik, document(report).encode())
    rows = []
    for name, (cik, data) in files.items():
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        year = 2000 + int(name[-13:-11])
        rows.append(f"{cik}|Company {cik}|10-K|{year}-03-01|{name}")
    index = tmp_path / "tree" / "full-index" / "2020" / "QTR1" / "master.idx"
    index.parent.mkdir(parents=True)
    index.write_text("\n".join(rows) + "\n")
    settings_ = [
        f'source.path="{tmp_path}/tree"', "source.kind=edgar", "split.unseen=0.3",
        f"source.exhibits={str(exhibits).lower()}", "evaluate.stock=[]", "engine.workers=1",
    ]  # fmt: skip
    loaded = recipes.load("folder", settings_)
    run = pipeline.start(loaded, tmp_path / "runs", "t", True, "domainlm run")
    pipeline.execute(run, "corpus")
    kept = list(documents.read(documents.paths(run.root)))
    ledger = read_json(run.root / "corpus" / "ledger.json")
    mains = [d for d in kept if not any(p in d.text for p in with_exhibits.absent)]
    assert len(mains) == len(files) - 3  # two copies and an empty file
    assert len([d for d in mains if d.source_sha256 == mains[0].source_sha256]) == 1
    assert "no main document" in str(ledger) and ledger["duplicates"]["documents"] == 2
    others = [d for d in kept if d not in mains]
    assert {d.group for d in others} == ({"11"} if exhibits else set())
    assert len(others) == (2 if exhibits else 0)
    for group in {d.group for d in kept}:
        splits = {d.split for d in kept if d.group == group}
        assert not ("unseen" in splits and splits & {"train", "validation", "seen"}), group
