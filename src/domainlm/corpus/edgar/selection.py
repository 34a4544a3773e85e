"""Which filings of EDGAR, or of a mirror of it, a recipe asks for.

- BASE/Archives/edgar/full-index/YEAR/QTRn/master.gz: all filings of a quarter;
- BASE/Archives/edgar/daily-index/YEAR/QTRn/master.YYYYMMDD.idx: of a day it has not got yet;
- BASE/files/company_tickers.json: today's tickers;
- https://data.sec.gov/submissions/CIK##########.json, of a mirror BASE/submissions: a company (its
  SIC code is today's) and its filings, each with the name of its main document.
"""

import contextlib
import datetime
import itertools
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from domainlm.console import progress, say
from domainlm.corpus.edgar.cache import Kept
from domainlm.corpus.edgar.client import ANY_AGE, Gateway, Unavailable, is_sec
from domainlm.corpus.edgar.submission import as_date
from domainlm.corpus.edgar.tree import (
    Filing,
    hash_order,
    in_industry,
    index_rows,
    index_text,
    unknown_ticker,
    wanted,
    wanted_form,
)
from domainlm.errors import USAGE, DomainLMError
from domainlm.recipe import Source

FIRST_YEAR = 1993  # of EDGAR
FEW = 50  # companies whose own lists are read, in place of every quarter's index
SETTLED = datetime.timedelta(days=7)  # after its end an index is built once more

_NAME = re.compile(r"edgar/data/\d{1,10}/[\w-]{1,40}\.txt")
_PAGE = re.compile(r"CIK\d{10}-submissions-\d{3}\.json")
_FILED = re.compile(r"\|(\d{4}-\d\d-\d\d)\|edgar/")


class Selection:
    """The filings that a source asks for, read through a gateway by the threads of a pool."""

    def __init__(self, source: Source, gateway: Gateway, pool: ThreadPoolExecutor) -> None:
        self.source, self.gateway, self.pool = source, gateway, pool
        self.base = gateway.base
        self.began = time.time()
        service = is_sec(urlsplit(self.base).hostname or "")
        self._lists = f"{'https://data.sec.gov' if service else self.base}/submissions"
        self._unlisted: set[str] = set()  # CIKs without a list: asked for once
        self._turns: dict[str, threading.Lock] = {}  # by CIK: threads that want one list ask once

    def filings(self) -> tuple[Iterator[Filing], int]:
        """The filings asked for, in hash order, and how many they are at most."""
        if self.source.tickers:
            ciks = sorted({*self.source.ciks, *self._ciks_of(self.source.tickers)})
            self.source = self.source.model_copy(update={"ciks": ciks, "tickers": []})
        found: dict[str, Filing] = {}
        try:
            few = 0 < len(self.source.ciks) <= FEW
            rows = list(self._listed()) if few else self._indexed()
        except Unavailable as reason:
            if not reason.gone:
                raise self._no_index("a company's list of filings", reason) from reason
            say(f"  {self.base} has no list of a company's filings: reading the indexes")
            rows = self._indexed()
        for filing in sorted((f for f in rows if wanted(f, self.source)), key=lambda f: f.path):
            # One filing of several companies (a utility and its parent) stands under each.
            found.setdefault(filing.accession, filing)
        if not found:
            raise nothing(self.base)
        order = sorted(found.values(), key=lambda f: hash_order(f.path))
        most = min(len(order), self.source.limit or len(order))
        chosen = self._of_industries(order) if self.source.sic else iter(order)
        return itertools.islice(chosen, most), most

    def facts(self, filing: Filing) -> tuple[datetime.date | None, str, str]:
        """Period, SIC code and name of the main document, as the company's own list has them."""
        filed = filing.filed.isoformat() if filing.filed else ""
        sic = ""
        for since in (ANY_AGE, self.began):
            try:  # a list of any age in the cache will do, if it has the filing
                company, rows = self._list_of(filing.cik, since, filed, filed or "9999")
            except Unavailable as reason:
                if reason.gone:
                    break
                raise
            sic = str(company.get("sic") or "")
            if row := rows.get(filing.accession):
                return as_date(row["reportDate"]), sic, row["primaryDocument"]
        return None, sic, ""

    def _list_of(
        self, cik: str, since: float, first: str = "", last: str = "9999"
    ) -> tuple[dict[str, Any], dict[str, dict[str, str]]]:
        """A company, and its filings from `first` to `last` (ISO dates) by accession number."""
        with self._turns.setdefault(cik, threading.Lock()):
            return self._list(cik, since, first, last)

    def _list(
        self, cik: str, since: float, first: str, last: str
    ) -> tuple[dict[str, Any], dict[str, dict[str, str]]]:
        if cik in self._unlisted:
            raise Unavailable("missing: no list")
        try:
            company = self._json(f"{self._lists}/CIK{int(cik):010}.json", since)
            tables = [company["filings"]["recent"]]
            for old in company["filings"].get("files", []):
                overlaps = old["filingFrom"] <= last and first <= old["filingTo"]
                if overlaps and _PAGE.fullmatch(old["name"]):
                    tables.append(self._json(f"{self._lists}/{old['name']}", since))
            columns = ("form", "filingDate", "reportDate", "primaryDocument")
            rows = {
                accession: dict(zip(columns, cells, strict=True))
                for table in tables
                for accession, *cells in zip(
                    table["accessionNumber"], *(table[c] for c in columns), strict=True
                )
            }
        except Unavailable as reason:
            if reason.gone:
                self._unlisted.add(cik)
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise Unavailable("gave up: a company's list is damaged") from error
        return company, rows

    def _json(self, url: str, since: float) -> dict[str, Any]:
        kept = self.gateway.fetch(url, since, lambda f: _holds(f, _object))
        return _object(kept.path.read_bytes(), url)

    def _listed(self) -> Iterator[Filing]:
        """Filings of the companies asked for, by their own lists."""
        years = self.source.years
        first = f"{min(years)}-01-01" if years else ""
        last = f"{max(years)}-12-31" if years else "9999"
        for cik in self.source.ciks:
            company, rows = self._list_of(str(cik), self.began, first, last)
            for accession, row in rows.items():
                name = f"edgar/data/{cik}/{accession}.txt"
                if wanted_form(row["form"], tuple(self.source.forms)) and _NAME.fullmatch(name):
                    filed = as_date(row["filingDate"])
                    title = str(company.get("name", ""))
                    yield Filing(name, row["form"], str(cik), title, filed, None, accession)

    def _ciks_of(self, tickers: list[str]) -> set[int]:
        """CIKs by ticker; raises where a ticker is unknown."""
        try:
            rows = self._json(f"{self.base}/files/company_tickers.json", self.began).values()
            table = {str(r["ticker"]).upper(): int(r["cik_str"]) for r in rows}
        except (Unavailable, ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._no_index("the table of tickers", error) from error
        for ticker in tickers:
            if ticker.upper() not in table:
                raise unknown_ticker(ticker, table)
        return {table[t.upper()] for t in tickers}

    def _of_industries(self, filings: list[Filing]) -> Iterator[Filing]:
        """Those of companies in the industries asked for: one request a company, as needed."""

        def sic_of(filing: Filing) -> str:
            try:
                company, _ = self._list_of(filing.cik, ANY_AGE, "9999", "")
            except Unavailable as reason:
                if reason.gone:
                    return ""
                raise self._no_index("a company's industry", reason) from reason
            return str(company.get("sic") or "")

        for start in range(0, len(filings), 64):
            some = filings[start : start + 64]
            for filing, sic in zip(some, self.pool.map(sic_of, some), strict=True):
                if in_industry(sic, self.source.sic):
                    yield filing

    def _indexed(self) -> list[Filing]:
        """Filings of the quarterly indexes, and of the days that the last one has not got yet."""
        today = datetime.datetime.now(datetime.UTC).date()
        years = sorted(set(self.source.years)) or range(FIRST_YEAR, today.year + 1)
        quarters = [
            (datetime.date(year, 3 * q - 2, 1), f"{year}/QTR{q}")
            for year in years
            for q in (1, 2, 3, 4)
            if datetime.date(year, 3 * q - 2, 1) <= today
        ]
        found: list[Filing] = []
        lacking: list[str] = []
        bad = 0
        with progress("reading the index", len(quarters), "quarters") as advance:
            kept = self.pool.map(lambda q: self._index(*q), quarters)
            for done, ((first, name), file) in enumerate(zip(quarters, kept, strict=True), 1):
                if file is None:
                    lacking.append(name)
                files = [file] if file else []
                if _end(first) >= today and not self.gateway.offline:
                    files += self._days(first, today, name, file)
                for each in files:
                    rows = index_rows(each.path.read_bytes(), str(each.path), self.source.forms)
                    for row in rows:
                        if row and _NAME.fullmatch(row.path):
                            found.append(row)
                        else:
                            bad += 1
                advance(done, "")
        if lacking and (self.gateway.offline or len(lacking) == len(quarters)):
            raise self._no_index(f"the index of {', '.join(lacking[:4])}", None)
        if lacking:
            say(f"  {self.base} has no index of {', '.join(lacking)}")
        if bad:
            say(f"  {bad:,} lines of the indexes are none and were left out")
        return found

    def _index(self, first: datetime.date, name: str) -> Kept | None:
        """The index of a quarter, None where the server has none."""
        end = datetime.datetime.combine(_end(first) + SETTLED, datetime.time(), datetime.UTC)
        for file in ("master.gz", "master.idx"):
            url = f"{self.base}/Archives/edgar/full-index/{name}/{file}"
            try:
                since = min(end.timestamp(), self.began)
                return self.gateway.fetch(url, since, lambda f: _holds(f, index_text))
            except Unavailable as reason:
                if not reason.gone:
                    raise self._no_index(f"the index {url}", reason) from reason
        return None

    def _days(
        self, first: datetime.date, today: datetime.date, name: str, index: Kept | None
    ) -> Iterator[Kept]:
        """Daily indexes after the last day in a quarter's own; most days have none."""
        text = index_text(index.path.read_bytes(), name) if index else ""
        day_before = (first - datetime.timedelta(1)).isoformat()
        last = datetime.date.fromisoformat(max(_FILED.findall(text), default=day_before))
        for day in (last + datetime.timedelta(n) for n in range(1, (today - last).days + 1)):
            file = f"{self.base}/Archives/edgar/daily-index/{name}/master.{day:%Y%m%d}.idx"
            if day.weekday() < 5:
                with contextlib.suppress(Unavailable):
                    yield self.gateway.fetch(file, self.began if day == today else ANY_AGE)

    def _no_index(self, what: str, reason: Exception | None) -> DomainLMError:
        offline = self.gateway.offline
        return DomainLMError(
            f"{what} cannot be had",
            where=self.base,
            why=str(reason) if reason else ("not in the cache" if offline else "it is not there"),
            fix="run once without --offline, or narrow source.years"
            if offline
            else "look at source.path and the network, then give the same command again: what "
            "was downloaded stays",
        )


def nothing(base: str) -> DomainLMError:
    """The error for a selection that is empty."""
    return DomainLMError(
        "no filing is what the recipe asks for",
        where=base,
        why="none has the forms, years, companies and industries of the recipe's source",
        fix="check source.forms, years, ciks, tickers and sic",
        exit_code=USAGE,
    )


def _end(first: datetime.date) -> datetime.date:
    """The first day after the quarter that begins with `first`."""
    month = first.month + 3
    return first.replace(year=first.year + month // 13, month=(month - 1) % 12 + 1)


def _object(raw: bytes, where: str) -> dict[str, Any]:
    value = json.loads(raw)
    if not isinstance(value, dict):
        raise ValueError(f"{where} is not an object")
    return value


def _holds(path: Path, parse: Callable[[bytes, str], Any]) -> bool:
    """True where a file can be parsed: a cut that no length betrays shows here."""
    try:
        parse(path.read_bytes(), path.name)
    except (ValueError, DomainLMError):
        return False
    return True
