import datetime
import difflib
import gzip
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from domainlm.corpus.edgar.filing import read_filing
from domainlm.corpus.edgar.submission import as_date, parse
from domainlm.corpus.edgar.tree import Filing, list_filings
from domainlm.corpus.extract import Unreadable
from domainlm.errors import DomainLMError
from domainlm.recipe import Source

FORMS = ["10-K", "10-K405"]
HEADER = """<SEC-DOCUMENT>0000912057-96-004835.txt : 19960320
<SEC-HEADER>0000912057-96-004835.hdr.sgml : 19960320
ACCESSION NUMBER:\t\t0000912057-96-004835
CONFORMED SUBMISSION TYPE:\t10-K405
CONFORMED PERIOD OF REPORT:\t19951231
FILED AS OF DATE:\t\t19960320
FILER:
\tCOMPANY DATA:\t
\t\tCOMPANY CONFORMED NAME:\t\t\tPUMP & VALVE CO /MN/
\t\tCENTRAL INDEX KEY:\t\t\t0000100030
\t\tSTANDARD INDUSTRIAL CLASSIFICATION:\tPUMPS & PUMPING EQUIPMENT [3561]
</SEC-HEADER>
"""
PEM = "-----BEGIN PRIVACY-ENHANCED MESSAGE-----\nProc-Type: 2001,MIC-CLEAR\n\n"
UUENCODED = "begin 644 logo.jpg\nM_]C_X\n`\nend"


def document(kind: str, text: str) -> str:
    return f"<DOCUMENT>\n<TYPE>{kind}\n<SEQUENCE>1\n<TEXT>\n{text}\n</TEXT>\n</DOCUMENT>\n"


def test_full_submission() -> None:
    exhibit, picture = document("EX-13", "An annual report."), document("GRAPHIC", UUENCODED)
    data = PEM + HEADER + exhibit + document("10-K405", "The <S> report.") + picture
    submission = parse(data.encode(), FORMS)
    assert submission.form == "10-K405"
    assert (submission.cik, submission.company) == ("100030", "PUMP & VALVE CO /MN/")
    assert submission.filed == datetime.date(1996, 3, 20)
    assert submission.period == datetime.date(1995, 12, 31)
    assert (submission.accession, submission.sic) == ("0000912057-96-004835", "3561")
    assert submission.body.strip() == "The <S> report."
    assert not submission.is_html
    tags = 2 * len("<DOCUMENT></DOCUMENT>\n")
    assert submission.dropped_bytes == len(exhibit) + len(picture) - tags


@pytest.mark.parametrize(
    ("documents", "body"),
    [
        ([("10-K/A", "amended"), ("10-K", "report")], "report"),
        ([("EX-1", "exhibit"), ("10-KT", "transition")], "transition"),
        ([("COVER", "first"), ("EX-1", "second")], "first"),
        ([("10-K", UUENCODED), ("10-K", "report")], "report"),
        ([("10-K", "<PDF>\nM_]C\n</PDF>"), ("10-K", "report")], "report"),
        ([("10-K", "<XBRL>\nreport\n</XBRL>")], "report"),
    ],
)
def test_which_document_is_the_main_one(documents: list[tuple[str, str]], body: str) -> None:
    data = HEADER + "".join(document(*d) for d in documents)
    assert parse(data.encode(), FORMS).body.strip() == body


@pytest.mark.parametrize(
    ("data", "slug"),
    [
        (HEADER, "no main document"),
        (HEADER + document("10-K", " \n"), "no main document"),
        (HEADER + document("10-K", UUENCODED), "no main document"),
        (HEADER + "<DOCUMENT>\n<TYPE>10-K\n<TEXT>\ncut o", "truncated"),
        (HEADER + document("10-K", "whole") + "<DOCUMENT>\n<TYPE>EX-1\n<TEXT>\ncut", "truncated"),
        ("", "no main document"),
        ("%PDF-1.5", "binary"),
    ],
)
def test_unreadable_submissions(data: str, slug: str) -> None:
    with pytest.raises(Unreadable) as refusal:
        parse(data.encode(), FORMS)
    assert refusal.value.args == (slug,)


def test_submission_whose_tags_were_stripped() -> None:
    header = HEADER.replace("<SEC-", "").replace("</SEC-", "")
    data = f"{header}10-K\n1\nd10k.htm\nThe report.\nEX-21\n2\nex.htm\nAn exhibit.\n"
    submission = parse(data.encode(), FORMS)
    assert submission.body.strip() == "The report." and submission.cik == "100030"
    assert submission.dropped_bytes == len("EX-21\n2\nex.htm\nAn exhibit.\n")


def test_bare_documents() -> None:
    page = parse(b"<HTML><BODY><P>Report</P></BODY></HTML>", FORMS)
    assert page.is_html and not (page.form or page.cik or page.filed or page.dropped_bytes)
    plain = parse(b"A report.\n<TABLE>\n<S> <C>\nSales 5\n</TABLE>\n<PAGE>\nif a < b", FORMS)
    assert not plain.is_html and plain.accession == ""


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("20240131", datetime.date(2024, 1, 31)),
        ("2024-01-31", datetime.date(2024, 1, 31)),
        ("2024-02-31", None),
        ("2010", None),
        ("", None),
    ],
)
def test_as_date(text: str, date: datetime.date | None) -> None:
    assert as_date(text) == date


def test_read_filing_of_plain_and_html() -> None:
    filing = Filing("a.txt", "10-K405", "", "", None, None, "")
    words = "We make pumps and valves for mills and refiners all over the world. " * 9
    page = f"<html><body><p>Item 1. Business</p><p>{words}</p><p>12</p><p>Item 3. Legal "
    page += f"Proceedings</p><p>{words}</p><p>13</p><p>SIGNATURES</p></body></html>"
    text, sections, submission = read_filing(
        (HEADER + document("10-K405", page)).encode(), filing, "keep"
    )
    assert [s.label for s in sections if not s.flags] == ["Item 1", "Item 3"]
    assert submission.is_html and "\n12\n" not in text and text.endswith("SIGNATURES")
    plain = f"ITEM 1. BUSINESS\n\n{words}\n\nITEM 3. LEGAL PROCEEDINGS\n\n{words}"
    text, sections, submission = read_filing(
        (HEADER + document("10-K405", plain)).encode(), filing, "drop"
    )
    assert [s.label for s in sections if not s.flags] == ["Item 1", "Item 3"]
    assert not submission.is_html


# --- trees --------------------------------------------------------------------------------------

INDEX = """Description:           Master Index of EDGAR Dissemination Feed

CIK|Company Name|Form Type|Date Filed|Filename
--------------------------------------------------------------------------------
20|K TRON|10-K|2002-03-29|edgar/data/20/0000893220-02-000393.txt
20|K TRON|8-K|2002-01-02|edgar/data/20/0000893220-02-000001.txt
7|B CO|10-K405|2002-02-01|edgar/data/7/0000000007-02-000001.txt
7|B CO|10-K405|2002-02-01|edgar/data/7/0000000007-02-000001.txt
bad row
7|B CO|10-K|not a date|edgar/data/7/x.txt
7|B CO|10-K|2002-02-01|../../etc/passwd
"""


def source(**keys: object) -> Source:
    return Source.model_validate({"kind": "edgar", "path": "x", **keys})


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for quarter in (1, 2):
        (tmp_path / f"full-index/2002/QTR{quarter}").mkdir(parents=True)
    (tmp_path / "full-index/2002/QTR1/master.idx").write_text(INDEX)
    row = "9|C CO|10-K|2003-05-05|edgar/data/9/0000000009-03-000001.txt\n"
    later = gzip.compress((INDEX[: INDEX.index("20|K")] + row).encode())
    (tmp_path / "full-index/2002/QTR2/master.idx.gz").write_bytes(later)
    return tmp_path


def test_index(tree: Path) -> None:
    filings = list_filings(tree, source())
    assert [f.cik for f in filings] == ["20", "7", "9"]
    assert filings.bad_rows == 3
    first = filings[0]
    assert first.path == "edgar/data/20/0000893220-02-000393.txt"
    assert first.accession == "0000893220-02-000393" and first.company == "K TRON"
    assert first.filed == datetime.date(2002, 3, 29) and first.period is None
    assert [f.cik for f in list_filings(tree, source(years=[2003]))] == ["9"]
    assert [f.cik for f in list_filings(tree, source(ciks=[7, 9]))] == ["7", "9"]
    assert [f.cik for f in list_filings(tree, source(forms=["8-K"]))] == ["20"]


def test_manifests(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "a").mkdir()
    (tmp_path / "a/manifest.csv").write_text(
        'path,form,cik,company,period,filed\n10-K/1.txt,10-K,0007,"B, CO",2001-12-31,\n'
        "10-K/1.txt,10-K,0007,again,,\n,10-K,7,,,\n"
    )
    (tmp_path / "b/manifest.csv").write_text("path,form\n2.htm,10-K\n")
    filings = list_filings(tmp_path, source())
    assert [f.path for f in filings] == ["a/10-K/1.txt", "b/2.htm"]
    assert filings.bad_rows == 1
    assert filings[0].company == "B, CO" and filings[0].period == datetime.date(2001, 12, 31)
    assert [f.path for f in list_filings(tmp_path, source(years=[2001]))] == ["a/10-K/1.txt"]
    assert [f.path for f in list_filings(tmp_path / "b", source())] == ["2.htm"]


def test_neither_index_nor_manifest(tmp_path: Path) -> None:
    with pytest.raises(DomainLMError) as error:
        list_filings(tmp_path, source())
    assert error.value.where and error.value.why and error.value.fix


# --- the fictional EDGAR ------------------------------------------------------------------------


def overlap(truth: str, text: str) -> float:
    """Share of the words in common, in order; white space and the bars of cells left aside."""
    a, b = (t.replace("|", " ").split() for t in (truth, text))
    if "".join(a) == "".join(b):
        return 1.0
    return difflib.SequenceMatcher(None, a, b, autojunk=False).ratio()


def test_truth_of_the_fictional_edgar(tmp_path: Path) -> None:
    samples = pytest.importorskip("domainlm.samples.edgar", reason="samples are not there yet")
    target = tmp_path / "edgar"
    samples.write(target)
    truths = [json.loads(t) for t in (target / "truth.jsonl").read_text("utf-8").splitlines()]
    listed = {f.path: f for f in list_filings(target, source())}
    chosen = random.Random(1).sample(truths, min(60, len(truths)))
    for truth in chosen:
        filing = listed[truth["path"]]
        # The truth is without the tables of figures.
        text, sections, _ = read_filing((target / filing.path).read_bytes(), filing, "drop")
        found = {s.label: text[s.start : s.end] for s in sections}
        assert list(found) == [i["label"] for i in truth["items"]], truth["path"]
        for item in truth["items"]:
            got = overlap(item["text"], found[item["label"]])
            assert got >= 0.98, (truth["path"], item["label"], got)


# --- real filings -------------------------------------------------------------------------------

ERAS = ("annual-1993-2000", "annual-2001-2018", "annual-2019-2026")
# A ratchet: shares of 10-K and 10-K405 filings with Items 1 and 7, as measured on all of them.
FOUND = {"annual-1993-2000": 0.97, "annual-2001-2018": 1.0, "annual-2019-2026": 0.95}


@pytest.fixture(scope="module")
def real(filings: Path) -> Path:
    return filings


def read_all(root: Path, filings: list[Filing]) -> Iterator[tuple[Filing, bytes, str, set[str]]]:
    """Each filing read, with its bytes, text and item numbers ("Items 1 and 2" gives both)."""
    for filing in filings:
        data = (root / filing.path).read_bytes()
        text, sections, _ = read_filing(data, filing, "keep")
        place = 0
        for section in sections:
            empty = section.flags == ("not_found",)
            assert place <= section.start < section.end + empty <= len(text) + empty, filing.path
            place = section.end
        yield filing, data, text, {n for s in sections for n in re.findall(r"\d+[A-C]?", s.label)}


HIDDEN = re.compile(rb"<ix:hidden>(.*?)</ix:hidden>", re.S)
FACT = re.compile(rb">(https?://[^<\s]{20,})<")


@pytest.mark.slow
@pytest.mark.parametrize("era", ERAS)
def test_sample_of_real_filings(real: Path, era: str) -> None:
    filings = [f for f in list_filings(real / era, source()) if "unknown" not in f.path]
    sample = random.Random(7).sample(filings, 16)
    both = 0
    for filing, data, text, items in read_all(real / era, sample):
        both += {"1", "7"} <= items
        assert "\n\n\n" not in text and text == text.strip(), filing.path
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\ufeff\xa0]", text), filing.path
        for block in HIDDEN.findall(data):
            for fact in FACT.findall(block):
                assert fact.decode() not in text, (filing.path, fact)
        assert "us-gaap:" not in text and "</" not in text, filing.path
    assert both >= 14


@pytest.mark.slow
@pytest.mark.parametrize("era", ERAS)
def test_all_real_filings(real: Path, era: str) -> None:
    filings = list_filings(real / era, source(forms=[]))
    found = [
        {"1", "7"} <= items
        for filing, _, _, items in read_all(real / era, filings)
        if filing.form in FORMS
    ]
    assert sum(found) / len(found) >= FOUND[era]
