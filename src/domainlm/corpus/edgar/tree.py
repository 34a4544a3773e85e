"""Which filings a folder holds: an EDGAR-shaped tree, or folders with a `manifest.csv`.

EDGAR's quarterly index (`full-index/YEAR/QTRn/master.idx`, "Accessing EDGAR Data") has lines
`CIK|Company Name|Form Type|Date Filed|Filename`, file names relative to the top of the archive.
"""

import csv
import datetime
import difflib
import fnmatch
import functools
import gzip
import zlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from domainlm.artifacts import sha256_json
from domainlm.corpus.edgar.submission import as_date
from domainlm.errors import USAGE, DomainLMError
from domainlm.recipe import Source


@dataclass(frozen=True)
class Filing:
    """One filing of the tree; `path` is POSIX and relative to the tree's top."""

    path: str
    form: str
    cik: str
    company: str
    filed: datetime.date | None
    period: datetime.date | None
    accession: str
    ticker: str = ""


class Filings(list[Filing]):
    """Filings sorted by path; `bad_rows` counts lines of the indexes that could not be read."""

    bad_rows: int = 0


def list_filings(path: Path, source: Source) -> Filings:
    """The filings under `path` that `source` asks for, each path once.

    A year is that of filing, else of the period; a filing with neither is left out only where
    years are asked for. Whether the files are there is not looked at. Raises `DomainLMError`
    where there is neither an index nor a manifest, or none that knows the tickers asked for.
    """
    # Names in an index are relative to Archives/, of which a copy may hold all or only a part.
    indexes = [
        (index, prefix)
        for folder, prefix in (("", ""), ("edgar/", ""), ("Archives/edgar/", "Archives/"))
        for pattern in ("*/*/master.idx*", "*/*/master.gz", "master.idx*")
        for index in sorted(path.glob(f"{folder}full-index/{pattern}"))
    ]
    manifests = sorted([*path.glob("manifest.csv"), *path.glob("*/manifest.csv")])
    if path.is_file() or not (indexes or manifests):
        raise DomainLMError(
            "no index of filings found",
            where=str(path),
            why="there is neither full-index/YEAR/QTRn/master.idx nor a manifest.csv, here or in "
            "a folder below"
            if path.is_dir()
            else "the path is not a folder",
            fix="point --corpus at the folder that holds one; a manifest.csv has the columns "
            "path, form, cik, company, period, filed, accession",
        )
    found: dict[str, Filing] = {}
    known: set[str] = set()
    bad = 0
    rows = (
        (index_rows(i.read_bytes(), str(i), source.forms, prefix) for i, prefix in indexes)
        if indexes
        else (_manifest(m, path) for m in manifests)
    )
    for row in (r for table in rows for r in table):
        if row is None:
            bad += 1
            continue
        known.add(row.ticker)
        if wanted(row, source):
            found.setdefault(row.path, row)
    for ticker in source.tickers:
        if ticker.upper() not in known:
            raise unknown_ticker(ticker, known)
    filings = Filings(found[name] for name in sorted(found))
    filings.bad_rows = bad
    return filings


def wanted(filing: Filing, source: Source) -> bool:
    """True where a filing has a form, a year and a company (by CIK or ticker) asked for."""
    if not wanted_form(filing.form, tuple(source.forms)):
        return False
    date = filing.filed or filing.period
    if source.years and (date is None or date.year not in source.years):
        return False
    if not (source.ciks or source.tickers):
        return True
    asked = filing.cik.isdigit() and int(filing.cik) in source.ciks
    return asked or filing.ticker in [t.upper() for t in source.tickers]


@functools.cache
def wanted_form(form: str, patterns: tuple[str, ...]) -> bool:
    """True where a form type is one of the patterns (of none: any is)."""
    return not patterns or any(fnmatch.fnmatchcase(form, p) for p in patterns)


def hash_order(path: str) -> str:
    """What files are sorted by where a limit takes some: spread over all, the same every time."""
    return sha256_json(path)


def in_industry(sic: str, asked: Sequence[int]) -> bool:
    """True where a SIC code begins with one of those asked for (0700 is asked for as 700)."""
    return not asked or any(sic.startswith(str(a)) or sic == f"{a:04d}" for a in asked)


def unknown_ticker(ticker: str, known: Collection[str]) -> DomainLMError:
    """The error for a ticker that is not among the `known` ones."""
    close = difflib.get_close_matches(ticker.upper(), known, 3, 0.5)
    return DomainLMError(
        f"no company has the ticker {ticker!r}",
        where="source.tickers",
        why=f"near it: {', '.join(close)}" if close else "no ticker near it is known either",
        fix="give a ticker of today, or the company's CIK in source.ciks"
        + ("" if any(known) else " (this corpus has no column of tickers)"),
        exit_code=USAGE,
    )


def index_rows(
    raw: bytes, where: str, forms: Sequence[str], prefix: str = ""
) -> Iterator[Filing | None]:
    """Rows of a master index, gzipped or not, that have one of `forms`; None for a bad line."""
    patterns = tuple(forms)
    in_rows = False
    for line in index_text(raw, where).splitlines():
        if not in_rows:  # a preamble and a rule of dashes come first
            in_rows = line.startswith("-----") or (line.count("|") == 4 and line[:1].isdigit())
            if not in_rows or line.startswith("-----"):
                continue
        cells = [c.strip() for c in line.split("|")]
        if len(cells) != 5:
            if line.strip():
                yield None
            continue
        cik, company, form, filed, name = cells
        if not wanted_form(form, patterns):
            continue  # most of 300,000 rows a quarter: before anything is parsed
        safe = _safe(name)
        date = as_date(filed)
        if not cik.isdigit() or date is None or safe is None:
            yield None
            continue
        accession = safe.rsplit("/", 1)[-1].removesuffix(".txt")
        yield Filing(prefix + safe, form, cik.lstrip("0"), company, date, None, accession)


def index_text(raw: bytes, where: str) -> str:
    """An index, gzipped or not, as text."""
    if raw[:2] == b"\x1f\x8b":
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error) as error:
            raise DomainLMError(
                "an index is damaged", where=where, why=str(error), fix="download it again"
            ) from error
    return raw.decode("latin-1")


def _manifest(path: Path, top: Path) -> Iterator[Filing | None]:
    """Rows of a manifest; cells, and columns other than `path`, may be missing."""
    prefix = path.parent.relative_to(top).as_posix()
    with open(path, encoding="utf-8-sig", errors="replace", newline="") as file:
        for row in csv.DictReader(file):
            cell = {k: (v or "").strip() for k, v in row.items() if k and isinstance(v, str)}
            name = _safe(cell.get("path", ""))
            if name is None or None in row:
                yield None
                continue
            yield Filing(
                path=name if prefix == "." else f"{prefix}/{name}",
                form=cell.get("form", ""),
                cik=cell.get("cik", "").lstrip("0"),
                company=cell.get("company", ""),
                filed=as_date(cell.get("filed", "")),
                period=as_date(cell.get("period", "")),
                accession=cell.get("accession", ""),
                ticker=cell.get("ticker", "").upper(),
            )


def _safe(name: str) -> str | None:
    """A relative POSIX path inside the tree, or None (an index is input, not to be trusted)."""
    name = name.replace("\\", "/").strip()
    if not name or name.startswith("/") or ".." in name.split("/") or "\0" in name:
        return None
    return name.removeprefix("./")
