"""The fictional EDGAR: its shape, its determinism, its prose and its figures."""

import hashlib
import itertools
import json
import random
import re
import statistics
from pathlib import Path
from typing import Any

import pytest

from domainlm.errors import DomainLMError
from domainlm.samples.edgar import write
from domainlm.samples.grammar import Writer, expand, parse

Truth = list[dict[str, Any]]
Grams = set[tuple[str, ...]]


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default tree, built once."""
    target = tmp_path_factory.mktemp("samples") / "edgar"
    write(target)
    return target


@pytest.fixture(scope="session")
def truth(tree: Path) -> Truth:
    """The lines of `truth.jsonl`."""
    return [json.loads(line) for line in (tree / "truth.jsonl").read_text().splitlines()]


def digest(root: Path) -> str:
    files = sorted(p for p in root.rglob("*") if p.is_file())
    parts = [f"{p.relative_to(root)} {hashlib.sha256(p.read_bytes()).hexdigest()}" for p in files]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def text_of(line: dict[str, Any]) -> str:
    return "\n\n".join(item["text"] for item in line["items"])


@pytest.mark.slow
def test_index_names_every_submission(tree: Path) -> None:
    named = set()
    for index in tree.glob("full-index/*/QTR?/master.idx"):
        head, rows = re.split(r"^-{80}\n", index.read_text("latin-1"), flags=re.MULTILINE)
        assert head.endswith("CIK|Company Name|Form Type|Date Filed|Filename\n")
        for row in rows.splitlines():
            cik, _, form, filed, path = row.split("|")
            submission = (tree / path).read_text()
            quarter = (int(filed[5:7]) + 2) // 3
            assert index.parts[-3:-1] == (filed[:4], f"QTR{quarter}")
            assert submission.startswith(f"<SEC-DOCUMENT>{Path(path).stem}.txt")
            assert f"CONFORMED SUBMISSION TYPE:\t{form}\n" in submission
            assert f"FILED AS OF DATE:\t\t{filed.replace('-', '')}\n" in submission
            assert f"CENTRAL INDEX KEY:\t\t\t{int(cik):010}\n" in submission
            assert submission.count("<DOCUMENT>") == submission.count("</DOCUMENT>")
            named.add(path)
    assert named == {str(p.relative_to(tree)) for p in tree.glob("edgar/data/*/*.txt")}


def test_size_and_counts(tree: Path, truth: Truth) -> None:
    assert len(truth) == 400
    assert len({line["cik"] for line in truth}) == 80
    assert {line["form"] for line in truth} == {"10-K", "10-K405"}
    assert {line["filed"][:4] for line in truth} == {str(year) for year in range(2019, 2024)}
    assert 3_000_000 < sum(len(text_of(line)) for line in truth) < 5_000_000
    assert all(len(line["items"]) == 20 for line in truth)
    submissions = [(tree / line["path"]).read_text() for line in truth]
    assert sum("<ix:header>" in s for s in submissions) == 300
    assert sum("<PAGE>" in s for s in submissions) == 100
    industries = {re.search(r"INDUSTRIAL CLASSIFICATION:\t(.*)", s) for s in submissions}
    assert len({match[1] for match in industries if match}) >= 10


def test_a_seed_fixes_every_byte(tmp_path: Path) -> None:
    for name, companies, seed in (("a", 6, 7), ("b", 6, 7), ("other", 6, 8), ("more", 9, 7)):
        write(tmp_path / name, companies=companies, years=2, seed=seed)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    assert digest(tmp_path / "a") != digest(tmp_path / "other")
    same = "edgar/data/9000006"
    assert digest(tmp_path / "a" / same) == digest(tmp_path / "more" / same)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b", "more", "other"]


def test_a_target_that_exists_is_left_alone(tmp_path: Path) -> None:
    write(tmp_path, companies=1, years=1)
    assert not list(tmp_path.iterdir())
    with pytest.raises(DomainLMError, match="cannot invent"):
        write(tmp_path / "x", companies=10_000)


def test_overlap_between_companies_and_years(truth: Truth) -> None:
    def grams(text: str) -> Grams:
        words = text.split()
        return {tuple(words[i : i + 13]) for i in range(len(words) - 12)}

    by_company: dict[int, list[Grams]] = {}
    for line in truth:
        by_company.setdefault(line["cik"], []).append(grams(text_of(line)))
    rng = random.Random(0)
    pairs = [rng.sample(sorted(by_company), 2) for _ in range(300)]
    across = []
    for a, b in pairs:
        one, other = rng.choice(by_company[a]), rng.choice(by_company[b])
        across.append(len(one & other) / len(one))
    within = [
        len(new & old) / len(new)
        for reports in by_company.values()
        for old, new in itertools.pairwise(reports)
    ]
    assert statistics.median(across) < 0.05
    assert 0.30 < statistics.median(within) < 0.60


def test_figures_agree_between_prose_and_tables(tree: Path, truth: Truth) -> None:
    for line in truth:
        prose = next(i["text"] for i in line["items"] if i["label"] == "Item 7")
        raw = (tree / line["path"]).read_text()
        plain = re.sub(r"<(?!S>|C>)[^>]*>|&#160;|\$", " ", raw)
        rows = re.findall(r"^ *Revenue +([\d,]+) +([\d,]+) *$", plain, re.MULTILINE)
        assert len(rows) == 2 and rows[0] == rows[1]
        now, last = (int(cell.replace(",", "")) for cell in rows[0])
        sentence = next(p for p in prose.split("\n\n") if re.search(r"\brevenue\b", p, re.I)
                        and f"{abs(now - last) / last:.1%}" in p)  # fmt: skip
        assert f"${now / 1000:,.1f} million" in sentence
        assert f"${last / 1000:,.1f} million" in sentence
        assets = re.search(r"Total assets +([\d,]+) +([\d,]+)", plain)
        claims = re.search(r"Total liabilities and equity +([\d,]+) +([\d,]+)", plain)
        assert assets and claims and assets.groups() == claims.groups()


def test_truth_is_what_is_printed_and_nothing_hidden(tree: Path, truth: Truth) -> None:
    for line in truth:
        raw = (tree / line["path"]).read_text()
        text = text_of(line)
        assert not re.search(r"HiddenFact|fasb\.org|us-gaap|[<>@{}\[\]]|  ", text)
        visible = re.sub(r'<div style="display:none">.*?</div>', "", raw)
        visible = re.sub(r"<[^>]*>", "", visible.replace("&#160;", " "))
        squeezed = re.sub(r"\s+", "", visible)
        for paragraph in text.split("\n\n"):
            assert re.sub(r"\s+", "", paragraph) in squeezed


def test_grammar() -> None:
    grammar = parse(
        "noun: orders; apples\nrise_up: grow\nrise_down: fall\nline:\n- a {noun} {rise}."
    )
    assert grammar["line"] == ("a {noun} {rise}.",)
    assert expand("a [apple|apple]", grammar, random.Random(0)) == "An apple"
    assert expand("{noun} {noun}", grammar, random.Random(0)) in ("Orders apples", "Apples orders")
    writer = Writer(grammar, random.Random(0), keep=1.0)
    first = writer.paragraph("line", 1, 1, tone="up")
    assert first == writer.paragraph("line", 1, 1, tone="up")
    assert writer.paragraph("line", 1, 1, tone="down").endswith("fall.")
