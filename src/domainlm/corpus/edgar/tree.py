"""Which filings a folder holds: an EDGAR-shaped tree, or folders with a `manifest.csv`.

EDGAR's quarterly index (`full-index/YEAR/QTRn/master.idx`, "Accessing EDGAR Data") has lines
`CIK|Company Name|Form Type|Date Filed|Filename`, file names relative to the top of the archive.
"""

import csv
import datetime
import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from domainlm.corpus.edgar.submission import as_date
from domainlm.errors import DomainLMError
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


class Filings(list[Filing]):
    """Filings sorted by path; `bad_rows` counts lines of the indexes that could not be read."""

    bad_rows: int = 0


def list_filings(path: Path, source: Source) -> Filings:
    """The filings under `path` that `source` asks for (forms, years, ciks), each path once.

    A year is that of filing, else of the period; a filing with neither is left out only where
    years are asked for. Whether the files are there is not looked at. Raises `DomainLMError`
    where there is neither an index nor a manifest.
    """
    indexes = sorted(
        [*path.glob("full-index/*/*/master.idx*"), *path.glob("full-index/master.idx*")]
    )
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
    bad = 0
    rows = (_index(i) for i in indexes) if indexes else (_manifest(m, path) for m in manifests)
    for row in (r for table in rows for r in table):
        if row is None:
            bad += 1
        elif _wanted(row, source):
            found.setdefault(row.path, row)
    filings = Filings(found[name] for name in sorted(found))
    filings.bad_rows = bad
    return filings


def _wanted(filing: Filing, source: Source) -> bool:
    if source.forms and filing.form not in source.forms:
        return False
    date = filing.filed or filing.period
    if source.years and (date is None or date.year not in source.years):
        return False
    return not source.ciks or (filing.cik.isdigit() and int(filing.cik) in source.ciks)


def _index(path: Path) -> Iterator[Filing | None]:
    """Rows of a master index; None for a line that is not one."""
    raw = path.read_bytes()
    if raw[:2] == b"\x1f\x8b":
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError) as error:
            raise DomainLMError(
                "an index is damaged", where=str(path), why=str(error), fix="download it again"
            ) from error
    in_rows = False
    for line in raw.decode("latin-1").splitlines():
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
        safe = _safe(name)
        date = as_date(filed)
        if not cik.isdigit() or date is None or safe is None:
            yield None
            continue
        accession = safe.rsplit("/", 1)[-1].removesuffix(".txt")
        yield Filing(safe, form, cik.lstrip("0"), company, date, None, accession)


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
            )


def _safe(name: str) -> str | None:
    """A relative POSIX path inside the tree, or None (an index is input, not to be trusted)."""
    name = name.replace("\\", "/").strip()
    if not name or name.startswith("/") or ".." in name.split("/") or "\0" in name:
        return None
    return name.removeprefix("./")
