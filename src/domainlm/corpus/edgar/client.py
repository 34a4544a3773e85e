"""The gateway to EDGAR or a mirror of it: one pace for all threads, and whole files or none.

"Accessing EDGAR Data" (sec.gov) asks for a User-Agent with a contact and at most 10 requests a
second; who is faster is shut out for ten minutes, by status 403 or by a page with status 200.
"""

import contextlib
import email.utils
import errno
import hashlib
import itertools
import os
import random
import re
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import httpx2

from domainlm import __version__
from domainlm.console import say
from domainlm.corpus.edgar.cache import Cache, Kept
from domainlm.corpus.edgar.limiter import Limiter
from domainlm.errors import USAGE, DomainLMError

SERVICE = "https://www.sec.gov"
SEC_RATE = 8.0  # requests a second; users report being shut out at 9.7
SEC_MOST = 10.0
COOLDOWN = 600.0  # seconds without a request once the server has shut us out
BACKOFF = 1.0  # seconds before the second try; each further one waits twice as long
TRIES = 6
SHORT_TRIES = 3  # whole deliveries of a file without its last line, before it is kept as it is
LONGEST_WAIT = 3600.0  # of a Retry-After
ANY_AGE = 1.0  # as `final_from`: any cached copy will do, of a resource that does change
_BLOCK_PAGE = 32_000  # bytes: a page that shuts out is shorter, a filing that quotes one is not
_BLOCKED = re.compile(rb"Request Rate Threshold Exceeded|Undeclared Automated Tool", re.I)
_NO_SUCH = re.compile(rb"<Code>(?:AccessDenied|NoSuchKey)</Code>")  # what S3 says of no file
_CONTACT = re.compile(r"[\x20-\x7e]*?([\w.+-]+)@((?:[\w-]+\.)+[a-z]{2,})\b[\x20-\x7e]*", re.I)
_PLACEHOLDER = re.compile(
    r"(?:.*\.)?(?:example(?:\.\w+)?|(?:your|my|some)?-?(?:domain|company|org|email)\.\w+"
    r"|your\.\w+|invalid|test|localhost)",
    re.I,
)


class Unavailable(Exception):
    """A resource that cannot be had; the text is the reason, as the ledger names it."""

    @property
    def gone(self) -> bool:
        """True where it is not there, rather than hard to get."""
        return str(self).startswith(("missing", "not in the cache"))


class _Again(Exception):
    """A try that failed and may be repeated."""


def user_agent(contact: str | None, host: str) -> str:
    """The User-Agent to send; raises where `host` is the SEC's and `contact` is no real one."""
    found = _CONTACT.fullmatch(contact.strip()) if contact else None
    fault = ""
    if contact and not found:
        fault = f"{contact!r} has no e-mail address (or letters beyond ASCII)"
    elif found and _PLACEHOLDER.fullmatch(found[2]):
        fault = f"{found[1]}@{found[2]} is a placeholder"
    elif not found and is_sec(host):
        fault = "the SEC's servers answer only those who say who they are"
    if fault:
        raise DomainLMError(
            "downloading filings needs a contact that the server can reach",
            where="source.contact",
            why=fault,
            fix="--set source.contact='Your Name you@your.org', with your own; it is sent to "
            f"{host} and stored nowhere",
            exit_code=USAGE,
        )
    return contact.strip() if contact else f"domainlm/{__version__}"


def is_sec(host: str) -> bool:
    """True for the SEC's own hosts."""
    return host == "sec.gov" or host.endswith(".sec.gov")


def pace(rate: float | None, host: str) -> float | None:
    """Requests a second to use; raises where they are more than the SEC allows."""
    if is_sec(host) and rate is not None and rate > SEC_MOST:
        raise DomainLMError(
            f"{rate:g} requests a second are more than the SEC allows",
            where="source.rate",
            why=f"above {SEC_MOST:g} it shuts the address out, for everybody behind it",
            fix=f"leave source.rate out ({SEC_RATE:g}), or give at most {SEC_MOST:g}",
            exit_code=USAGE,
        )
    return SEC_RATE if rate is None and is_sec(host) else rate


class Gateway:
    """Fetches addresses into a cache; threads share one. `offline`: nothing but the cache."""

    def __init__(
        self,
        base: str,
        *,
        contact: str | None = None,
        rate: float | None = None,
        offline: bool = False,
        threads: int = 8,
        cooldown: float = COOLDOWN,
        backoff: float = BACKOFF,
        timeout: float = 60.0,
    ) -> None:
        host = urlsplit(base).hostname or ""
        self.base, self.offline = base.rstrip("/"), offline
        self.cache = Cache(base)
        self.rate = None if offline else pace(rate, host)
        self.limiter = Limiter(self.rate)
        self.requests = 0  # asked so far, repeated ones included
        self.received = 0  # bytes, as they came over the wire
        self._cooldown, self._backoff = cooldown, backoff
        self._numbers = itertools.count()
        agent = "" if offline else user_agent(contact, host)
        self._client = httpx2.Client(
            headers={"User-Agent": agent, "Accept-Encoding": "gzip"},
            timeout=httpx2.Timeout(timeout, connect=min(timeout, 15.0)),
            limits=httpx2.Limits(max_connections=threads, max_keepalive_connections=threads),
        )

    def __enter__(self) -> "Gateway":
        return self

    def __exit__(self, *_: object) -> None:
        self.limiter.stop()
        self._client.close()

    def fetch(
        self, url: str, final_from: float = 0.0, whole: Callable[[Path], bool] | None = None
    ) -> Kept:
        """The cached file of an address, asked for where it is not cached or may have changed.

        A copy confirmed at or after `final_from` (seconds since 1970) is final; an earlier one is
        asked for with its validators. A file that is not `whole` is fetched again; a filing (0)
        is then kept as it is: some are truncated in the archive. Raises `Unavailable`.
        """
        kept = self.cache.look_up(url)
        if kept and (self.offline or kept.confirmed >= final_from):
            return kept
        if self.offline:
            raise Unavailable("not in the cache")
        unfinished = self.cache.working / f"{os.getpid()}-{next(self._numbers)}"
        reason, short = "", 0
        try:
            for attempt in range(TRIES):
                if attempt:
                    # Our own loop, not stamina's: its sleep could be neither shared nor stopped.
                    wait = min(self._backoff * 2.0 ** (attempt - 1), 60.0)
                    self.limiter.sleep(wait * random.uniform(0.5, 1.5))
                try:
                    sha256, tags = self._try(url, kept, unfinished)
                except _Again as error:
                    reason = str(error)
                    continue
                except httpx2.TransportError as error:
                    reason = _fault(error)
                    continue
                if kept and sha256 == kept.sha256:
                    self.cache.confirm(kept)
                    return kept
                if whole and not whole(unfinished):
                    short += 1
                    reason = "truncated"
                    if final_from or (short < SHORT_TRIES and attempt < TRIES - 1):
                        continue
                return self.cache.keep(url, unfinished, sha256, tags if final_from else {})
        finally:
            unfinished.unlink(missing_ok=True)
        raise Unavailable(f"gave up: {reason}")

    def _try(self, url: str, kept: Kept | None, file: Path) -> tuple[str, dict[str, str]]:
        """One try, redirections within the host included: SHA-256 and validators of `file`."""
        headers = {}
        if kept:
            names = {"etag": "If-None-Match", "last-modified": "If-Modified-Since"}
            headers = {names[k]: v for k, v in self.cache.tags(kept).items() if k in names}
        for _ in range(5):
            with self.limiter.turn():
                self.requests += 1
                response = self._client.send(
                    self._client.build_request("GET", url, headers=headers), stream=True
                )
            with contextlib.closing(response):
                if response.has_redirect_location:
                    url = _same_host(url, response)
                    continue
                if response.status_code == 304 and kept:
                    return kept.sha256, {}
                if response.status_code != 200:
                    self._refused(response)
                sha256 = self._stream(response, file)
                if file.stat().st_size < _BLOCK_PAGE and _BLOCKED.search(file.read_bytes()):
                    self._shut_out(urlsplit(url).hostname)
                    raise _Again("shut out")
                tags = {k: v for k in ("etag", "last-modified") if (v := response.headers.get(k))}
                return sha256, tags
        raise Unavailable("refused: too many redirections")

    def _refused(self, response: httpx2.Response) -> None:
        """Raise what a status other than 200 means, and have everybody wait where it says so."""
        status = response.status_code
        body = b""
        with contextlib.suppress(httpx2.HTTPError):
            for piece in response.iter_bytes():
                body += piece
                if len(body) > _BLOCK_PAGE:
                    break
        if status in {404, 410} or (status == 403 and _NO_SUCH.search(body)):
            raise Unavailable(f"missing: {status}")
        if status == 403 or _BLOCKED.search(body):
            self._shut_out(response.url.host)
        elif status in {429, 503}:
            wait = _retry_after(response.headers.get("retry-after", ""))
            if wait is not None and self.limiter.pause(min(wait, LONGEST_WAIT)) and wait > 10:
                say(f"  {response.url.host} asks for a pause of {wait:,.0f} seconds")
        elif status not in {408, 425} and status < 500:
            raise Unavailable(f"refused: {status}")
        raise _Again(f"status {status}")

    def _shut_out(self, host: str | None) -> None:
        if self.limiter.pause(self._cooldown):
            say(f"  {host} has shut us out: no request for {self._cooldown:,.0f} seconds")

    def _stream(self, response: httpx2.Response, file: Path) -> str:
        """Write the decoded body to `file`, synced; its SHA-256. Raises where it is not whole.

        A body short of its Content-Length or without its last chunk is an error of the client's.
        """
        digest = hashlib.sha256()
        packed = response.headers.get("content-encoding", "").lower() in {"gzip", "x-gzip"}
        unpack = zlib.decompressobj(31)
        try:
            with open(file, "wb") as out:
                for piece in response.iter_raw(65536):
                    self.received += len(piece)
                    data = unpack.decompress(piece) if packed else piece
                    digest.update(data)
                    out.write(data)
                out.flush()
                os.fsync(out.fileno())
        except zlib.error as error:
            raise _Again("damaged gzip") from error
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise DomainLMError(
                "no room left on the disk",
                where=str(self.cache.top),
                why="a filing could not be written whole; nothing half-written was kept",
                fix="free some space, or move the cache with DOMAINLM_CACHE, then give the same "
                "command again: the crawl goes on",
            ) from error
        if packed and not unpack.eof:
            raise _Again("damaged gzip")
        return digest.hexdigest()


def _fault(error: httpx2.TransportError) -> str:
    """The fault of a connection in words that are the same for all files it happens to."""
    if isinstance(error, httpx2.TimeoutException):
        return "timed out"
    if isinstance(error, httpx2.ConnectError | httpx2.ProxyError):
        return f"no connection ({error})"
    return "connection broken"


def _same_host(url: str, response: httpx2.Response) -> str:
    """Where a redirection leads, if to the same server."""
    old, new = httpx2.URL(url), httpx2.URL(url).join(response.headers["location"])
    upgraded = (old.scheme, new.scheme) == ("http", "https")
    if new.host != old.host or not (upgraded or (new.scheme, new.port) == (old.scheme, old.port)):
        raise Unavailable(f"refused: redirected to {new.scheme}://{new.netloc.decode()}")
    return str(new)


def _retry_after(text: str) -> float | None:
    """Seconds of a Retry-After, given as seconds or as an HTTP date; None where it is neither."""
    if text.strip().isdigit():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError):
        return None
