"""The leakage audit against sets of tuples of words, in plain Python."""

import functools
import hashlib
import random
import re
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domainlm.artifacts import read_json
from domainlm.corpus import audit, documents
from domainlm.corpus.documents import Document


def document(id_: str, split: str, text: str, group: str = "") -> Document:
    return Document(id_, group or f"g-{id_}", None, id_, f"{id_}.txt", "", text, split=split)


WORD = re.compile(r"[0-9A-Za-z\u00c0-\u1fff\u2c00-\u2fff]+|[\u3000-\U0010ffff]")


@functools.cache
def grams(text: str) -> set[tuple[bytes, ...]]:
    words = [word.encode().lower() for word in WORD.findall(text)]  # lower case of ASCII alone
    return set(zip(*(words[n:] for n in range(13)), strict=False))


def run(
    root: Path, docs: Sequence[Document], files: int = 1, limit: float = 0.5, **options: Any
) -> dict[str, Any]:
    """The audit of documents in so many files; every task finds what it says it reads."""
    names = []
    for n in range(files):
        names.append(f"corpus/documents-{n:05d}.parquet")
        documents.write(
            root / names[-1], docs[n * len(docs) // files : (n + 1) * len(docs) // files]
        )
    for wave in audit.waves(root, names, limit, 1, **options):
        for task in wave:
            assert all((root / path).is_file() for path in task.inputs)
            task.function(root, task.arguments)
            assert all((root / path).is_file() for path in task.outputs)
    found: dict[str, Any] = read_json(root / audit.AUDIT)
    return found


def rows(root: Path) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in pq.read_table(root / audit.ROWS).to_pylist()}


def share(text: str, others: Sequence[str]) -> float | None:
    own = grams(text)
    there = set().union(*map(grams, others)) if others else set()
    return len(own & there) / len(own) if own else None


def over(document: Document, overlap: float | None, limit: float) -> bool:
    return overlap is not None and overlap > limit and len(grams(document.text)) >= 50


def expected(docs: Sequence[Document], limit: float) -> tuple[dict[str, Any], dict[str, Any]]:
    """Rows of held-out documents and figures of the splits, from the definition."""
    used = [d for d in docs if d.split != "unused"]
    order = sorted(used, key=lambda d: hashlib.sha256(f"1|random|{d.id}".encode()).digest())
    chosen = order[: min(300, sum(d.split == "unseen" for d in docs))]
    train = [d.text for d in docs if d.split in ("train", "validation")]
    others = [d.text for d in used if d not in chosen]
    held = {s: [d for d in docs if d.split == s] for s in ("seen", "unseen")}
    table: dict[str, Any] = {}
    splits: dict[str, Any] = {}
    for name, part, beside in (
        *((s, h, train) for s, h in held.items()),
        ("random", chosen, others),
    ):
        shares = {d.id: share(d.text, beside) for d in part}
        known = [s for s in shares.values() if s is not None]
        if known:
            long = [shares[d.id] for d in part if len(grams(d.text)) >= 50]
            splits[name] = {
                "documents": len(known),
                "groups": len({d.group for d in part if shares[d.id] is not None}),
                "median": pytest.approx(statistics.median(known), abs=1e-6),
                "max": pytest.approx(max(long or known), abs=1e-6),
                "over": sum(over(d, shares[d.id], limit) for d in part),
            }
        for d in part if name != "random" else ():
            own = shares[d.id]
            less_novel = [s for s in known if own is not None and s > own]
            table[d.id] = {
                "id": d.id,
                "group": d.group,
                "split": d.split,
                "grams": len(grams(d.text)),
                "overlap": own,
                "decile": None if own is None else 10 * len(less_novel) // len(known),
            }
    return table, splits


rng = random.Random(5)
SENTENCES = [
    " ".join(f"{rng.choice('aBcdé')}{rng.randrange(30)}" for _ in range(rng.randint(3, 35)))
    for _ in range(12)
]
texts = st.lists(st.sampled_from(SENTENCES), max_size=8).map("; ".join)
corpora = st.lists(st.tuples(st.sampled_from(documents.SPLITS), texts), min_size=1, max_size=24)


@settings(max_examples=30)
@given(corpora, st.integers(1, 3), st.sampled_from([0.2, 0.5]))
@pytest.mark.slow
def test_the_audit_is_that_of_plain_sets(
    corpus: list[tuple[str, str]], files: int, limit: float
) -> None:
    docs = [document(f"d{n}", split, text, f"g{n % 5}") for n, (split, text) in enumerate(corpus)]
    with tempfile.TemporaryDirectory() as folder:
        found = run(Path(folder), docs, files, limit)
        table, splits = expected(docs, limit)
        assert rows(Path(folder)) == table
        for figures in found["splits"].values():
            assert figures["median"] <= figures.pop("p90") <= 1
        assert found["splits"] == splits
        assert found["documents_too_short"] == sum(r["overlap"] is None for r in table.values())
        assert audit.novelty(Path(folder)) == {
            id_: row["decile"] for id_, row in table.items() if row["decile"] is not None
        }
        unseen = [d for d in docs if d.split == "unseen"]
        offending = {d.id for d in unseen if over(d, table[d.id]["overlap"], limit)}
        assert {pair["held_out"]["id"] for pair in found["pairs"]} == offending
        assert bool(audit.over(Path(folder))) == bool(offending)


def prose(seed: int, words: int) -> str:
    source = random.Random(seed)
    return " ".join(f"w{source.randrange(10**6)}" for _ in range(words))


def mixed(count: int = 40) -> list[Document]:
    """Documents of 1,000 words; of each held-out one a known share stands in train."""
    docs = [document(f"t{n}", "train", prose(n, 1000)) for n in range(count)]
    for n in range(count):
        cut = 25 * n
        text = " ".join(docs[n].text.split()[:cut]) + " " + prose(1000 + n, 1000 - cut)
        docs.append(document(f"h{n}", ("seen", "unseen")[n % 2], text))
    return docs


def test_the_number_of_files_changes_nothing(tmp_path: Path) -> None:
    docs = mixed(20)
    for budget in (audit.BUDGET, 5000):
        made = set()
        for files in (1, 2, 7):
            root = tmp_path / f"{budget}-{files}"
            run(root, docs, files, limit=0.3, budget=budget)
            made.add(((root / audit.AUDIT).read_bytes(), (root / audit.ROWS).read_bytes()))
        assert len(made) == 1


def test_a_sample_is_near_the_whole_and_says_so(tmp_path: Path) -> None:
    docs = mixed()
    whole, sample = (
        run(tmp_path / name, docs, 3, budget=budget)
        for name, budget in (("whole", audit.BUDGET), ("sample", 6_000))
    )
    assert (whole["sampled"], sample["sampled"]) == (1, 8)
    exact, near = rows(tmp_path / "whole"), rows(tmp_path / "sample")
    assert [exact[id_]["grams"] for id_ in exact] == [near[id_]["grams"] for id_ in exact]
    errors = []
    for id_, row in exact.items():
        p = row["overlap"]
        error = (near[id_]["overlap"] - p) / ((p * (1 - p) * 8 / row["grams"]) ** 0.5 or 1)
        assert abs(error) < 4, (id_, p, near[id_]["overlap"])
        errors.append(error)
    assert any(errors)
    assert abs(statistics.mean(errors)) < 3 / len(errors) ** 0.5  # unbiased
    # Who is clearly over is named, and who may be by chance is not.
    named = {pair["held_out"]["id"] for pair in sample["pairs"]}
    assert {
        id_ for id_, r in exact.items() if r["split"] == "unseen" and r["overlap"] > 0.75
    } < named
    assert all(exact[id_]["overlap"] > 0.5 for id_ in named)


def test_chance_puts_no_document_of_a_sample_over_the_limit(tmp_path: Path) -> None:
    shared = prose(1, 1000).split()
    docs = [document("train", "train", " ".join(shared))]
    for n in range(60):
        docs.append(document(f"u{n}", "unseen", " ".join(shared[n : n + 500]) + prose(n + 2, 500)))
    found = run(tmp_path, docs, budget=8_000)
    assert found["sampled"] == 8
    assert any(row["overlap"] > 0.5 for row in rows(tmp_path).values())  # by chance: it is 0.494
    assert found["splits"]["unseen"]["over"] == 0


def test_a_sample_leaves_out_what_it_cannot_judge(tmp_path: Path) -> None:
    docs = [*mixed(), document("brief", "unseen", " ".join(prose(0, 1000).split()[:100]))]
    found = run(tmp_path, docs, budget=12_000)
    assert rows(tmp_path)["brief"]["overlap"] is None
    assert rows(tmp_path)["brief"]["grams"] == 88
    assert found["documents_too_short"] == 1


def test_offending_pairs_are_named(tmp_path: Path) -> None:
    """A renamed company's report: nine tenths of it stand in train, under another group."""
    old = prose(1, 1000)
    report = " ".join(old.split()[:900]) + " " + prose(2, 100)
    docs = [
        document("old", "train", old.upper(), "Old Inc"),
        document("half", "validation", " ".join(old.split()[:400]), "Half Inc"),
        document("small", "train", " ".join(old.split()[:100]), "Small Inc"),
        document("smaller", "train", " ".join(old.split()[:90]), "Smaller Inc"),
        document("other", "train", prose(3, 1000)),
        document("renamed", "unseen", report.replace(" ", ",\n"), "New Inc"),
        document("clean", "unseen", prose(4, 1000)),
        document("later", "seen", old, "Old Inc"),
        document("unused", "unused", report, "New Inc"),
    ]
    found = run(tmp_path, docs, files=3)
    assert found["splits"]["unseen"]["over"] == 1
    assert found["splits"]["seen"]["over"] == 1  # measured, but no reason to stop
    held = {
        "id": "renamed", "uri": "renamed.txt", "group": "New Inc", "split": "unseen",
        "overlap": round(888 / 988, 6),
    }  # fmt: skip
    beside = [("old", "Old Inc", 888), ("half", "Half Inc", 388), ("small", "Small Inc", 88)]
    assert found["pairs"] == [
        {
            "held_out": held,
            "train": {"id": i, "uri": f"{i}.txt", "group": g, "share": round(n / 988, 6)},
        }
        for i, g, n in beside
    ]
    lines = audit.over(tmp_path)
    assert lines[0].endswith(
        "1 of 2 unseen documents have more than 50.0% of their 13-grams in train"
    )
    assert lines[1] == (
        "  renamed.txt (group New Inc): 89.9%; 89.9% are in old.txt (group Old Inc)"
    )
    assert len(lines) == 4
    assert run(tmp_path, docs, files=3, limit=0.9)["pairs"] == []
    assert audit.over(tmp_path) == []


def test_the_random_split_knows_nothing_of_unused_documents(tmp_path: Path) -> None:
    docs = [document(f"d{n}", ("train", "unseen")[n % 2], prose(n, 100)) for n in range(6)]
    docs += [document(f"x{n}", "unused", prose(n, 100)) for n in range(6)]
    random_split = run(tmp_path, docs)["splits"]["random"]
    assert (random_split["documents"], random_split["max"]) == (3, 0)


def test_at_most_twenty_offenders_are_shown_and_all_are_counted(tmp_path: Path) -> None:
    docs = [document(f"t{n:02}", "train", prose(n, 200)) for n in range(30)]
    docs += [document(f"u{n:02}", "unseen", prose(n, 200) + prose(50, n)) for n in range(30)]
    found = run(tmp_path, docs)
    assert found["splits"]["unseen"]["over"] == 30
    shown = [pair["held_out"]["id"] for pair in found["pairs"]]
    assert shown == [f"u{n:02}" for n in range(20)]  # the worst first
    assert [pair["train"]["id"] for pair in found["pairs"]] == [f"t{n:02}" for n in range(20)]


def test_without_held_out_documents_the_audit_is_empty(tmp_path: Path) -> None:
    found = run(tmp_path, [document(f"t{n}", "train", prose(n, 50)) for n in range(4)], files=2)
    assert found == {
        "n": 13, "sampled": 1, "limit": 0.5, "splits": {}, "documents_too_short": 0, "pairs": [],
    }  # fmt: skip
    assert audit.over(tmp_path) == []
    assert audit.novelty(tmp_path) == {}
    assert not list(tmp_path.glob("corpus/parts/audit-scan-*"))  # nothing to look for


def test_documents_of_fewer_than_thirteen_words_have_no_overlap(tmp_path: Path) -> None:
    twelve = " ".join("abcdefghijkl")
    docs = [
        document("train", "train", f"{twelve} m"),
        document("twelve", "unseen", twelve),
        document("thirteen", "unseen", f"{twelve} m"),
        document("empty", "seen", ""),
    ]
    found = run(tmp_path, docs)
    assert {id_: row["overlap"] for id_, row in rows(tmp_path).items()} == {
        "twelve": None, "thirteen": 1.0, "empty": None,
    }  # fmt: skip
    assert found["documents_too_short"] == 2
    assert "seen" not in found["splits"]
    assert audit.novelty(tmp_path) == {"thirteen": 0}


def test_a_stub_is_measured_and_stops_nothing(tmp_path: Path) -> None:
    """Words that refer elsewhere are in every report; from 62 on, or 50 13-grams, it is a text."""
    words = prose(1, 100).split()
    docs = [document("train", "train", " ".join(words))]
    docs += [document("text", "unseen", " ".join(words[:12]) + prose(2, 90))]
    docs += [document("stub", "unseen", " ".join(words[:61]))]
    found = run(tmp_path, docs)
    assert rows(tmp_path)["stub"]["overlap"] == 1
    assert (found["splits"]["unseen"]["over"], found["splits"]["unseen"]["max"]) == (0, 0)
    docs.append(document("long", "unseen", " ".join(words[:62])))
    found = run(tmp_path, docs)
    assert (found["splits"]["unseen"]["over"], found["splits"]["unseen"]["max"]) == (1, 1)
    assert {pair["held_out"]["id"] for pair in found["pairs"]} == {"long"}


def test_no_audit_says_nothing(tmp_path: Path) -> None:
    assert audit.over(tmp_path) == []


@pytest.mark.slow
def test_real_filings_as_plain_sets_have_it(filings: Path, tmp_path: Path) -> None:
    """Of six companies' reports: later years of seen companies leak, unseen companies do not."""
    folders = sorted((filings / "mda-2018-2023" / "mda").iterdir())[:6]
    docs = []
    for number, folder in enumerate(folders):
        for path in sorted(folder.glob("*.txt")):
            later = path.stem >= "2022"
            split = (
                ("unseen" if later else "unused") if number < 2 else "seen" if later else "train"
            )
            text = path.read_text(encoding="utf-8")
            docs.append(document(f"{folder.name}-{path.stem}", split, text, folder.name))
    found = run(tmp_path, docs, files=3)
    table, splits = expected(docs, 0.5)
    assert rows(tmp_path) == table
    assert found["splits"]["seen"]["median"] == splits["seen"]["median"]
    assert found["splits"]["random"]["median"] == splits["random"]["median"]
    assert found["splits"]["unseen"]["median"] < 0.1 < found["splits"]["seen"]["median"]
    assert audit.over(tmp_path) == []
