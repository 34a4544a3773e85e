"""The split over columns: groups, dates, duplicates, links; and edits of text with its sections."""

import datetime
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domainlm.corpus.documents import Document, Section
from domainlm.corpus.edits import edited
from domainlm.corpus.split import PLACES, Assignment, Columns, assign
from domainlm.errors import DomainLMError
from domainlm.recipe import Duplicates, Split

DAYS = st.one_of(st.none(), st.dates(datetime.date(2000, 1, 1), datetime.date(2024, 1, 1)))
ROWS = st.lists(st.tuples(st.integers(0, 9), DAYS, st.integers(0, 40)), min_size=4, max_size=60)
PAIRS = st.lists(st.tuples(st.integers(0, 59), st.integers(0, 59)), max_size=30)
RULES = st.sampled_from([Split(newest=0.3), Split(cut=datetime.date(2012, 1, 1)), Split()])


def columns(rows: list, pairs: list | None = None) -> Columns:
    """Columns of (group, date, text) rows; the documents' ids are their numbers."""
    names = sorted({f"g{group}" for group, *_ in rows})
    links = [p for p in pairs or [] if max(p) < len(rows) and p[0] != p[1]]
    return Columns(
        ids=[str(n) for n in range(len(rows))],
        groups=names,
        group=np.array([names.index(f"g{group}") for group, *_ in rows]),
        dates=np.array([day for _, day, _ in rows], "datetime64[D]"),
        hashes=np.array([[text, text * 7] for *_, text in rows], "<u8"),
        links=np.array(links, np.int64).reshape(-1, 2),
    )


def places(made: Assignment) -> list[str]:
    return [PLACES[p] for p in made.places]


@settings(max_examples=200)
@given(ROWS, PAIRS, RULES, st.integers(1, 5), st.floats(0.05, 0.9))
def test_no_group_and_no_link_joins_unseen_to_train(rows, pairs, rule, seed, unseen) -> None:
    table = columns(rows, pairs)
    rule = rule.model_copy(update={"seed": seed, "unseen": unseen})
    try:
        made = assign(table, rule, Duplicates())
    except DomainLMError:
        return
    where = places(made)
    sides = {"train": "in", "validation": "in", "seen": "in", "unseen": "out", "unused": "out"}
    for name in table.groups:
        own = {sides[w] for w, g in zip(where, table.group, strict=True)
               if table.groups[g] == name and w in sides}  # fmt: skip
        assert len(own) <= 1
    for a, b in table.links:
        pair = {where[a], where[b]}
        assert not ("unseen" in pair and pair & {"train", "validation"})
    for n, (_, day, _) in enumerate(rows):
        held_out = made.cut is not None and day is not None and day >= made.cut
        if where[n] in ("train", "validation", "unused"):
            assert not held_out or where[n] == "unused"
        if where[n] == "seen":
            assert held_out


@given(ROWS, PAIRS, st.randoms())
def test_the_split_does_not_depend_on_the_order_of_the_documents(rows, pairs, random) -> None:
    rows = [(group, day, n) for n, (group, day, _) in enumerate(rows)]  # no duplicates
    order = list(range(len(rows)))
    random.shuffle(order)
    links = [p for p in pairs if max(p) < len(rows)]
    there = columns(rows, links)
    moved = columns([rows[n] for n in order], [(order.index(a), order.index(b)) for a, b in links])
    moved = Columns(**{**vars(moved), "ids": [str(n) for n in order]})
    rule = Split(newest=0.3, unseen=0.4)
    try:
        first = places(assign(there, rule, Duplicates()))
    except DomainLMError:
        with pytest.raises(DomainLMError):
            assign(moved, rule, Duplicates())
        return
    assert [first[n] for n in order] == places(assign(moved, rule, Duplicates()))


DAY = [datetime.date(2000 + n, 1, 1) for n in range(12)]


def test_the_oldest_or_the_newest_of_equal_documents_stays() -> None:
    rows = [(1, DAY[5], 7), (2, DAY[1], 7), (2, None, 8), (3, None, 7), (4, DAY[9], 9)]
    for keep, gone in (("oldest", {0, 3}), ("newest", {1, 3}), ("keep", set())):
        made = assign(columns(rows), Split(none=True), Duplicates(exact=keep))
        assert {n for n, w in enumerate(places(made)) if w == "duplicate"} == gone


def test_of_near_duplicates_in_train_one_stays_and_held_out_text_is_left_alone() -> None:
    rows = [(n, DAY[year], 100 * n + year) for n in range(8) for year in range(8)]
    pairs = [(8 * n + year, 8 * n + year + 1) for n in range(8) for year in range(7)]
    rule = Split(cut=DAY[5], unseen=0.25, validation=0)
    for keep, years in (("oldest", {0}), ("newest", {4}), ("keep", set(range(5)))):
        made = assign(columns(rows, pairs), rule, Duplicates(near=keep))
        where = places(made)
        kept = {rows[n][1].year - 2000 for n, w in enumerate(where) if w == "train"}
        assert kept == years
        assert where.count("seen") == 6 * 3 and where.count("unseen") == 2 * 3
        assert made.joined == 0


def test_linked_groups_go_to_one_side_and_a_text_of_many_groups_joins_nobody() -> None:
    rows = [(group, DAY[year], 10 * group + year) for group in range(10) for year in range(4)]
    pairs = [(0, 4), (5, 9)]  # groups 0, 1 and 2, by different documents
    licence = [4 * group + 3 for group in range(3, 10)]
    pairs += list(pairwise(licence))
    for seed in range(20):
        rule = Split(cut=DAY[2], unseen=0.4, seed=seed)
        made = assign(columns(rows, pairs), rule, Duplicates())
        where = places(made)
        unseen = {rows[n][0] for n, w in enumerate(where) if w in ("unseen", "unused")}
        assert unseen & {0, 1, 2} in (set(), {0, 1, 2})
        assert 1 <= len(unseen) <= 4 and made.joined == 3
        for n in licence:
            assert where[n] == ("unused" if rows[n][0] in unseen else "seen")
        assert made.common == len(unseen - {0, 1, 2})


def test_groups_that_are_all_linked_cannot_be_split_and_the_error_says_so() -> None:
    rows = [(group, DAY[1], group) for group in range(4)]
    with pytest.raises(DomainLMError, match="too few groups to split") as error:
        assign(columns(rows, [(0, 1), (1, 2), (2, 3)]), Split(), Duplicates())
    assert "near-duplicates" in str(error.value)


def test_what_the_split_promises_depends_on_dates_and_groups() -> None:
    dated = [(group, DAY[year], 10 * group + year) for group in range(5) for year in range(4)]
    said = " ".join(assign(columns(dated), Split(cut=DAY[2]), Duplicates()).promises)
    assert "dated before 2002-01-01" in said and "no dates" not in said
    bare = [(group, None, 10 * group + n) for group in range(5) for n in range(4)]
    said = " ".join(assign(columns(bare), Split(), Duplicates()).promises)
    assert "There are no dates" in said
    alone = [(n, None, n) for n in range(9)]
    said = " ".join(assign(columns(alone), Split(), Duplicates()).promises)
    assert "its own group" in said


def test_too_few_groups_and_an_empty_side_are_errors_with_a_way_out() -> None:
    with pytest.raises(DomainLMError, match="too few groups"):
        assign(columns([(1, DAY[1], 1), (1, DAY[2], 2)]), Split(), Duplicates())
    with pytest.raises(DomainLMError, match="no document train") as error:
        assign(columns([(1, DAY[5], 1), (2, DAY[5], 2)]), Split(cut=DAY[1]), Duplicates())
    assert "move split.cut" in str(error.value)


@given(
    st.text("ab\n", max_size=40),
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40), st.sampled_from(["", "[X]"]))),
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=3),
)
def test_edits_move_sections_with_their_text(text, edits, spans) -> None:
    """Against marking every character: what is left of a section is what it covered before."""
    edits = [(min(a, b, len(text)), min(max(a, b), len(text)), new) for a, b, new in edits]
    sections = tuple(
        Section(str(n), min(a, b, len(text)), min(max(a, b), len(text)))
        for n, (a, b) in enumerate(spans)
    )
    document = Document("i", "g", None, "t", "u", "s", text, sections)
    made = edited(document, edits)
    gone = {n for a, b, _ in edits for n in range(a, b)}
    kept = "".join(c for n, c in enumerate(text) if n not in gone)
    assert made.text.replace("[X]", "") == kept
    for section in made.sections:
        old = sections[int(section.label)]
        survivors = "".join(text[n] for n in range(old.start, old.end) if n not in gone)
        assert made.text[section.start : section.end].replace("[X]", "") == survivors
