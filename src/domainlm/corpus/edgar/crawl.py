"""The download of filings from EDGAR or a mirror of it, into the cache, with an account of each.

- BASE/Archives/edgar/data/CIK/ACCESSION.txt: a filing with its exhibits (full submission);
- BASE/Archives/edgar/data/CIK/ACCESSIONNODASHES/DOCUMENT: its main document alone.
"""

import contextlib
import dataclasses
import datetime
import re
import time
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from domainlm.artifacts import atomic_write
from domainlm.console import progress
from domainlm.corpus.edgar.cache import Cache
from domainlm.corpus.edgar.client import SERVICE, Gateway, Unavailable
from domainlm.corpus.edgar.selection import Selection, nothing
from domainlm.corpus.edgar.tree import Filing
from domainlm.errors import DomainLMError
from domainlm.recipe import Source

THREADS = 8
AHEAD = 512  # filings being downloaded ahead of the one that comes next in hash order
FAILURES = 25  # in a row, after which it is not the filings
NO_DOCUMENT_NAMES = datetime.date(2001, 1, 1)  # before it EDGAR names no main document

_DOCUMENT = re.compile(r"\w[\w .()&+,~=@-]*\.(?:html?|txt)", re.I)
_ENDS = (b"</SEC-DOCUMENT>", b"</IMS-DOCUMENT>", b"-----END PRIVACY-ENHANCED MESSAGE-----")


@dataclasses.dataclass(frozen=True)
class Download:
    """A filing asked for. `path` is relative to Archives/; `status` is "ok", "truncated" (kept as
    the archive has it), or why there is no file (`sha256` is empty and `bytes` 0).
    """

    path: str
    sha256: str
    bytes: int
    form: str
    cik: str
    company: str
    filed: datetime.date | None
    period: datetime.date | None
    accession: str
    sic: str
    status: str


_TYPES = {int: pa.int64(), str: pa.string(), datetime.date | None: pa.date32()}
_SCHEMA = pa.schema([(f.name, _TYPES[f.type]) for f in dataclasses.fields(Download)])  # type: ignore[index]


def write(path: Path, rows: Iterable[Download]) -> None:
    """Keep the account of a crawl as Parquet, one row a filing."""
    with atomic_write(path) as file:
        table = pa.Table.from_pylist([dataclasses.asdict(r) for r in rows], schema=_SCHEMA)
        pq.write_table(table, file, compression="zstd")


def read(path: Path) -> list[Download]:
    """The account kept by `write`; empty where there is none."""
    return [Download(**row) for row in pq.read_table(path).to_pylist()] if path.is_file() else []


def base_of(source: Source) -> str:
    """The address that a remote source is below."""
    return source.path.rstrip("/") or SERVICE


def archive(source: Source) -> Path:
    """The folder of the cache that stands for BASE/Archives."""
    return Cache(base_of(source)).place(f"{base_of(source)}/Archives")


def crawl(source: Source, offline: bool = False, **patience: float) -> list[Download]:
    """Fetch what the source asks for and is not cached; one row a filing, sorted by path.

    `patience` goes to the `Gateway` (cooldown, backoff, timeout; seconds). A filing that cannot be
    had is a row with its reason. Raises `DomainLMError` where an index cannot be had, where no
    filing comes, or where `offline` and the cache lacks something.
    """
    base = base_of(source)
    with (
        Gateway(
            base,
            contact=source.contact,
            rate=source.rate,
            offline=offline,
            threads=THREADS,
            **patience,
        ) as gateway,
        contextlib.nullcontext() if offline else gateway.cache.locked(),
        ThreadPoolExecutor(THREADS, thread_name_prefix="crawl") as pool,
    ):
        if gateway.rate:  # a run that was killed, or that we waited for, may have asked just now
            gateway.limiter.pause(1.0)
        try:
            rows = _download(Selection(source, gateway, pool), source)
        finally:
            gateway.limiter.stop()  # threads that wait give up before the pool is left
            pool.shutdown(wait=True, cancel_futures=True)
    if not rows:
        raise nothing(base)
    failed = [r for r in rows if not r.sha256]
    if (offline and failed) or len(failed) == len(rows):
        raise DomainLMError(
            f"{len(failed):,} of {len(rows):,} filings could not be had",
            where=base,
            why=f"for example {failed[0].path}: {failed[0].status}",
            fix="run once without --offline" if offline else "look at source.path and the network",
        )
    return sorted(rows, key=lambda r: r.path)


def known(source: Source) -> list[Filing]:
    """The filings asked for, as far as the cache alone tells; raises where it does not."""
    with Gateway(base_of(source), offline=True) as gateway, ThreadPoolExecutor(THREADS) as pool:
        return list(Selection(source, gateway, pool).filings()[0])


def _download(selection: Selection, source: Source) -> list[Download]:
    """Fetch filings, many at once, and take them in their order up to `limit_bytes`."""
    gateway = selection.gateway
    filings, most = selection.filings()
    rows: list[Download] = []
    waiting: deque[Future[Download]] = deque()
    size = failures = 0
    began = time.monotonic()
    with progress("downloading", most, "filings") as advance:
        while True:
            while len(waiting) < AHEAD and (filing := next(filings, None)):
                waiting.append(selection.pool.submit(_fetch, selection, source, filing))
            if not waiting:
                return rows
            row = waiting.popleft().result()
            size += row.bytes
            if source.limit_bytes and rows and size > source.limit_bytes:
                return rows
            rows.append(row)
            failures = 0 if row.sha256 else failures + 1
            if failures >= FAILURES and not gateway.offline:
                raise DomainLMError(
                    f"{failures} filings in a row could not be had",
                    where=gateway.base,
                    why=f"the last one, {row.path}: {row.status}",
                    fix="look at the network and the server, then give the same command "
                    "again: the crawl goes on where it was",
                )
            pace = gateway.requests / (time.monotonic() - began)
            advance(len(rows), f"{size / 1e6:,.0f} MB {pace:.1f} requests/s")


def _fetch(selection: Selection, source: Source, filing: Filing) -> Download:
    """The main document where that suffices and EDGAR names it, else the full submission.

    Since inline XBRL a full submission is 5 to 20 times its main document (exhibits, graphics,
    data), for the cost of a request a company that tells the names of its main documents.
    """
    gateway = selection.gateway
    period, sic, name = filing.period, "", ""
    try:
        named = filing.filed is None or filing.filed >= NO_DOCUMENT_NAMES
        by_name = named and not source.exhibits
        if by_name or source.sic:
            period, sic, name = selection.facts(filing)
        kept, status = None, "ok"
        if by_name and _DOCUMENT.fullmatch(name):
            folder = f"{filing.path.rpartition('/')[0]}/{filing.accession.replace('-', '')}"
            try:
                kept = gateway.fetch(f"{gateway.base}/Archives/{folder}/{quote(name)}")
            except Unavailable as reason:
                if not reason.gone:
                    raise
        if kept is None:
            kept = gateway.fetch(f"{gateway.base}/Archives/{filing.path}", whole=_is_whole)
            status = "ok" if _is_whole(kept.path) else "truncated"
        path = kept.path.relative_to(archive(source)).as_posix()
        sha256, size = kept.sha256, kept.bytes
    except Unavailable as reason:
        path, sha256, size, status = filing.path, "", 0, str(reason)
    return Download(
        path, sha256, size, filing.form, filing.cik, filing.company, filing.filed,
        period, filing.accession, sic, status,
    )  # fmt: skip


def _is_whole(path: Path) -> bool:
    """True where a full submission ends as one does."""
    with open(path, "rb") as file:
        file.seek(-min(200, path.stat().st_size), 2)
        return file.read().rstrip().endswith(_ENDS)
