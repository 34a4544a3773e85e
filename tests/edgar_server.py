"""A loopback EDGAR with the real addresses and headers, which logs every request and misbehaves.

    python tests/edgar_server.py TOP --port-file FILE --log FILE --faults 0.1 --seed 1

Faults are drawn by the seed, the path and how often it was asked for, so that a run of the server
gives the same ones to any client. The log has a JSON line a request: arrival and end (monotonic
seconds), path, status, fault, bytes of the body, `done` (the whole right body was handed over).
"""

import argparse
import collections
import dataclasses
import datetime
import email.utils
import gzip
import hashlib
import json
import random
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FAULTS = ("429", "403", "503", "reset", "short", "quiet", "chunked", "slow", "gzip", "page")
_PAGE = """<!DOCTYPE html>
<html><head><title>SEC.gov | Request Rate Threshold Exceeded</title></head>
<body><h1>{title}</h1><p>To allow for equitable access to all users, SEC reserves the right to limit
requests originating from undeclared automated tools. Please declare your traffic by updating your
user agent to include company specific information.</p><p>Reference ID: 0.0</p></body></html>"""
RATE_PAGE = _PAGE.format(title="Request Rate Threshold Exceeded").encode()
TOOL_PAGE = _PAGE.format(title="Your Request Originates from an Undeclared Automated Tool").encode()


@dataclasses.dataclass(frozen=True)
class Made:
    """An invented filing."""

    cik: int
    name: str
    ticker: str
    sic: str
    form: str
    filed: datetime.date
    accession: str
    text: str

    @property
    def path(self) -> str:
        return f"edgar/data/{self.cik}/{self.accession}.txt"

    @property
    def document(self) -> str:
        """File name of the main document; EDGAR names none before 2001."""
        return f"d{self.cik}.htm" if self.filed.year >= 2001 else ""

    def body(self) -> bytes:
        if not self.document:
            return self.text.encode()
        paragraphs = "".join(f"<p>{p}</p>\n" for p in self.text.split("\n\n"))
        return f"<html><body>\n{paragraphs}</body></html>\n".encode()

    def submission(self) -> bytes:
        head = (
            f"<SEC-DOCUMENT>{self.accession}.txt : {self.filed:%Y%m%d}\n<SEC-HEADER>\n"
            f"ACCESSION NUMBER:\t\t{self.accession}\nCONFORMED SUBMISSION TYPE:\t{self.form}\n"
            f"FILED AS OF DATE:\t\t{self.filed:%Y%m%d}\n"
            f"\t\tCOMPANY CONFORMED NAME:\t\t\t{self.name}\n"
            f"\t\tCENTRAL INDEX KEY:\t\t\t{self.cik:010}\n"
            f"\t\tSTANDARD INDUSTRIAL CLASSIFICATION:\tTHINGS [{self.sic}]\n</SEC-HEADER>\n"
            f"<DOCUMENT>\n<TYPE>{self.form}\n<SEQUENCE>1\n<FILENAME>{self.document}\n<TEXT>\n"
        )
        exhibit = "<DOCUMENT>\n<TYPE>EX-21\n<SEQUENCE>2\n<TEXT>\nNone.\n</TEXT>\n</DOCUMENT>\n"
        end = f"</TEXT>\n</DOCUMENT>\n{exhibit}</SEC-DOCUMENT>\n"
        return head.encode() + self.body() + b"\n" + end.encode()


def invent(
    companies: int = 12, years: range = range(1999, 2004), words: int = 300, seed: int = 1
) -> list[Made]:
    """One annual report a company and year; every third company files variants of the form."""
    forms = ("10-K", "10-K405", "10-KSB", "10-K/A", "10-KT", "10-KSB40", "10-K405/A")
    found = []
    for number in range(companies):
        rng = random.Random(f"{seed}|{number}")
        cik, name = 1001 + 7 * number, f"COMPANY {number} INC"
        vocabulary = [f"{rng.choice('bcdfgklmnprst')}{rng.randrange(10**5):x}" for _ in range(200)]
        for year in years:
            form = "10-K" if number % 3 else forms[(number // 3 + year) % len(forms)]
            sentences = [
                " ".join(rng.choices(vocabulary, k=12)).capitalize() + "."
                for _ in range(max(1, rng.randrange(words // 2, 2 * words) // 12))
            ]
            items = "\n\n".join(" ".join(sentences[n : n + 5]) for n in range(0, len(sentences), 5))
            found.append(
                Made(
                    cik, name, f"T{number:03}", ("2834", "2836", "6022", "0700")[number % 4], form,
                    datetime.date(year, 1 + (number * 5 + year) % 12, 1 + number % 28),
                    f"{cik:010}-{year % 100:02}-{number:06}",
                    f"Annual report of {name} for {year}.\n\nItem 1. Business\n\n{items}",
                )
            )  # fmt: skip
    return found


def publish(top: Path, made: list[Made], documents: bool = True, lists: bool = True) -> Path:
    """Write the filings below `top` at EDGAR's addresses; returns the folder Archives."""
    archive = top / "Archives"
    rows: dict[str, list[str]] = {}
    companies: dict[int, list[Made]] = {}
    for filing in made:
        _put(archive / filing.path, filing.submission())
        if documents and filing.document:
            folder = archive / filing.path.rpartition("/")[0] / filing.accession.replace("-", "")
            _put(folder / filing.document, filing.body())
        quarter = f"{filing.filed.year}/QTR{(filing.filed.month + 2) // 3}"
        row = f"{filing.cik}|{filing.name}|{filing.form}|{filing.filed}|{filing.path}"
        rows.setdefault(quarter, []).append(row)
        companies.setdefault(filing.cik, []).append(filing)
    for quarter, lines in rows.items():
        head = "Description: Master Index\n\nCIK|Company Name|Form Type|Date Filed|Filename\n"
        text = head + "-" * 80 + "\n" + "\n".join(lines) + "\n"
        _put(
            archive / "edgar/full-index" / quarter / "master.gz",
            gzip.compress(text.encode(), mtime=0),
        )
    tickers = {
        str(n): {"cik_str": cik, "ticker": of[0].ticker, "title": of[0].name}
        for n, (cik, of) in enumerate(companies.items())
    }
    _put(top / "files/company_tickers.json", json.dumps(tickers).encode())
    for cik, filings in companies.items() if lists else ():
        recent, old = filings[-2:], filings[:-2]  # the older ones on a page of their own
        page = f"CIK{cik:010}-submissions-001.json"
        files = []
        if old:
            _put(top / "submissions" / page, json.dumps(_table(old)).encode())
            files = [
                {"name": page, "filingFrom": f"{old[0].filed}", "filingTo": f"{old[-1].filed}"}
            ]
        company = {"cik": cik, "name": filings[0].name, "sic": filings[0].sic}
        company["filings"] = {"recent": _table(recent), "files": files}
        _put(top / f"submissions/CIK{cik:010}.json", json.dumps(company).encode())
        if old:
            _put(top / "submissions" / page, json.dumps(_table(old)).encode())
    return archive


def _table(filings: list[Made]) -> dict[str, list[str]]:
    return {
        "accessionNumber": [f.accession for f in filings],
        "form": [f.form for f in filings],
        "filingDate": [f.filed.isoformat() for f in filings],
        "reportDate": [f"{f.filed.year - 1}-12-31" for f in filings],
        "primaryDocument": [f.document for f in filings],
    }


def _put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


class Server(ThreadingHTTPServer):
    """Serves the folder `top`; `fault(path, nth)` names what goes wrong with a request, if any."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, top: Path, fault: Callable[[str, int], str | None] | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.top, self.fault = top, fault or (lambda path, nth: None)
        self.asked: collections.Counter[str] = collections.Counter()
        self.log: list[dict[str, object]] = []
        self.log_file: Path | None = None
        self.retry_after = ["1"]  # drawn from, for the fault "429"
        self.lock = threading.Lock()
        self.base = f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> "Server":
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def note(self, entry: dict[str, object]) -> None:
        with self.lock:
            self.log.append(entry)
            if self.log_file:
                with open(self.log_file, "a") as file:
                    file.write(json.dumps(entry) + "\n")

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a killed client resets its connections


def seeded(rate: float, seed: int, kinds: tuple[str, ...] = FAULTS) -> Callable[..., str | None]:
    """Faults for a share `rate` of requests, the same for the same path and count."""

    def fault(path: str, nth: int) -> str | None:
        rng = random.Random(f"{seed}|{path}|{nth}")
        return rng.choice(kinds) if rng.random() < rate else None

    return fault


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        arrived = time.monotonic()
        with self.server.lock:
            self.server.asked[self.path] += 1
            fault = self.server.fault(self.path, self.server.asked[self.path])
        entry = {"arrived": arrived, "path": self.path, "fault": fault, "done": False}
        entry |= {"agent": self.headers["User-Agent"], "status": 0, "bytes": 0}
        try:
            self._answer(entry, fault or "")
        except OSError:
            self.close_connection = True
        finally:
            entry["ended"] = time.monotonic()
            self.server.note(entry)

    def _answer(self, entry: dict[str, object], fault: str) -> None:
        file = self.server.top / self.path.lstrip("/")
        if fault == "429":
            again = {"Retry-After": random.choice(self.server.retry_after)}
            return self._send(entry, 429, b"slow down", again)
        if fault == "403":
            return self._send(entry, 403, RATE_PAGE, {"Content-Type": "text/html"})
        if fault == "page":
            return self._send(entry, 200, TOOL_PAGE, {"Content-Type": "text/html"})
        if fault == "503":
            return self._send(entry, 503, b"", {})
        if fault.startswith("to:"):
            return self._send(entry, 301, b"", {"Location": fault.removeprefix("to:")})
        if not file.is_file():
            return self._send(entry, 404, b"<h1>404</h1>", {})
        data = file.read_bytes()
        tag = f'"{hashlib.sha256(data).hexdigest()[:16]}"'
        if self.headers["If-None-Match"] == tag:
            return self._send(entry, 304, b"", {"ETag": tag})
        headers = {
            "ETag": tag,
            "Last-Modified": email.utils.formatdate(file.stat().st_mtime, usegmt=True),
            "Content-Type": "text/html" if file.suffix == ".htm" else "text/plain",
        }
        if fault == "quiet":  # a cut that nothing betrays (of a main document nothing would)
            return self._send(entry, 200, data[: len(data) // 2], headers, right=False)
        if fault == "gzip" or (len(data) > 1000 and "gzip" in self.headers["Accept-Encoding"]):
            if file.suffix != ".gz":
                data = gzip.compress(data, 1, mtime=0)
                headers["Content-Encoding"] = "gzip"
            if fault == "gzip":
                headers["Content-Encoding"] = "gzip"
                middle = len(data) // 2
                data = data[:middle] + bytes(b ^ 0x55 for b in data[middle:])
        self._send(entry, 200, data, headers, fault=fault, right=fault != "gzip")

    def _send(
        self, entry: dict[str, object], status: int, data: bytes, headers: dict[str, str],
        fault: str = "", right: bool = True,
    ) -> None:  # fmt: skip
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        half = len(data) // 2
        if fault == "chunked":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"%x\r\n%b\r\n" % (half, data[:half]) if half else b"")
        else:
            if status != 304:
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[:half])
        entry |= {"status": status, "bytes": half}
        if fault in {"chunked", "short", "reset"}:
            self.close_connection = True
            if fault == "reset":
                self.wfile.flush()
                linger = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.connection.close()
            return
        if fault == "slow":
            self.wfile.flush()
            time.sleep(0.2)
        self.wfile.write(data[half:])
        self.wfile.flush()
        entry |= {"bytes": len(data), "done": status == 200 and right and not _is_page(data)}


def _is_page(data: bytes) -> bool:
    return data in (RATE_PAGE, TOOL_PAGE)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("top", type=Path)
    parser.add_argument("--port-file", type=Path, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--faults", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    server = Server(given.top, seeded(given.faults, given.seed))
    server.log_file = given.log
    server.retry_after = ["0", "1"]
    given.port_file.write_text(server.base)
    server.serve_forever()


if __name__ == "__main__":
    sys.exit(main())
