"""A file of EDGAR: the documents of a full submission, or a bare primary document.

A full submission (EDGAR Filer Manual, volume II; "Public Dissemination Service") is an SGML
header and then one <DOCUMENT> part a file: the report, its exhibits, graphics in uuencode, XBRL.
Submissions of the 1990s may stand in a PEM wrapper (-----BEGIN PRIVACY-ENHANCED MESSAGE-----).
"""

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from domainlm.corpus.extract import Unreadable, decode

_FIELD = re.compile(r"^[ \t]*([A-Z][A-Z /]+[A-Z]):[ \t]*(\S[^\n\r]*)", re.M)
_TYPE = re.compile(rb"<TYPE>[ \t]*([^\r\n<]*)", re.I)
_STRIPPED = re.compile(rb"^([A-Z\d][\w./-]{1,15})\r?\n\d{1,3}\r?\n[\w.-]{1,80}\.\w{2,4}\r?\n", re.M)
_SIC = re.compile(r"\[?(\d{4})\]?\s*$")
_TEXT = re.compile(rb"<TEXT>", re.I)
_WRAPPER = re.compile(rb"</?(?:XBRL|XML)>", re.I)
_PDF = re.compile(rb"<PDF>.*?</PDF>", re.I | re.S)
# uuencode (POSIX): lines of a length character and as many as that; ends with `end`.
_UUENCODED = re.compile(rb"^begin [0-7]{3} [^\r\n]+\r?\n(?:[!-`][ -`]*\r?\n)*?end\r?$", re.M)
_FIRST_ITEM = re.compile(rb"\bitem(?:\s|&nbsp;|&#160;)+1\b(?!\d)", re.I)
_HTML = re.compile(
    r"<(?:!doctype html|html|body|div|font|td|br|p|span|center)(?:\s[^<>]*)?/?>|<!doctype html",
    re.I,
)
_HEADER_BYTES = 60_000  # in which the header of a submission without documents is looked for

_HEADER_ALONE = 8_000  # bytes: a header without tags and documents is at most so long


@dataclass(frozen=True)
class Submission:
    """The main document and what the header says; fields are empty where there is no header.

    `exhibits` are the types and bytes of the documents EX-..., `dropped_bytes` counts all documents
    but the main one (exhibits, graphics, data).
    """

    form: str
    cik: str
    company: str
    filed: datetime.date | None
    period: datetime.date | None
    accession: str
    sic: str
    body: str
    is_html: bool
    dropped_bytes: int
    exhibits: tuple[tuple[str, bytes], ...] = ()


def parse(data: bytes, forms: Sequence[str]) -> Submission:
    """The main document: the first whose type is one of `forms`, else 10-K..., else the first.

    Further documents of its type that do not begin with Item 1 again are parts of it. Raises
    `Unreadable`: `no main document` (a header alone, or no text), `truncated` (a document without
    an end), or what `decode` raises.
    """
    wanted = [f.upper() for f in forms]
    spans, header_end = _documents(data)
    if not spans:
        return _bare(data, wanted)
    documents = [(_type(data[a : min(b, a + 2000)]), _content(data[a:b]), b - a) for a, b in spans]
    readable = [d for d in documents if d[1].strip()]
    if not readable:
        raise Unreadable("no main document")
    main = min(readable, key=lambda d: (d[0] not in wanted, not d[0].startswith("10-K")))
    parts = [
        d
        for d in readable
        if d is main or (d[0] == main[0] and not _FIRST_ITEM.search(d[1]) and d[0][:3] != "EX-")
    ]
    body = "\n".join(_decoded(content) for _, content, _ in parts)
    fields = _fields(data[:header_end].decode("cp1252", "replace"))
    found = _submission(
        {"form": main[0], **fields}, body, sum(d[2] for d in documents) - sum(d[2] for d in parts)
    )
    exhibits = tuple((kind, content) for kind, content, _ in readable if kind.startswith("EX-"))
    return replace(found, exhibits=exhibits)


def _content(document: bytes) -> bytes:
    """What stands in <TEXT>, without pictures, archives and PDFs; empty for a binary member."""
    text = _TEXT.search(document, 0, 4000)
    content = document[text.end() if text else 0 :]
    close = content.rfind(b"</TEXT>")
    content = content[: close if close >= 0 else len(content)]
    if (close := content.lower().rfind(b"</pdf>")) >= 0:  # what never ends is none
        content = _PDF.sub(b"", content[: close + 6]) + content[close + 6 :]
    if b"begin " in content:
        content = _UUENCODED.sub(b"", content)
    content = _WRAPPER.sub(b"", content)
    return b"" if content.lstrip()[:5] == b"%PDF-" else content


def _submission(fields: dict[str, str], body: str, dropped: int) -> Submission:
    return Submission(
        form=fields.get("form", ""),
        cik=fields.get("cik", ""),
        company=fields.get("company", ""),
        filed=as_date(fields.get("filed", "")),
        period=as_date(fields.get("period", "")),
        accession=fields.get("accession", ""),
        sic=fields.get("sic", ""),
        body=body,
        is_html=is_html(body),
        dropped_bytes=dropped,
    )


def as_date(text: str) -> datetime.date | None:
    """A date written 19960320 or 1996-03-20; None for anything else (a year alone too)."""
    digits = text.strip().replace("-", "")[:8]
    try:
        return datetime.datetime.strptime(digits, "%Y%m%d").date() if len(digits) == 8 else None
    except ValueError:
        return None


def _documents(data: bytes) -> tuple[list[tuple[int, int]], int]:
    """Spans of the <DOCUMENT> parts, and where the header ends."""
    spans: list[tuple[int, int]] = []
    start = data.find(b"<DOCUMENT>")
    header_end = start
    while start >= 0:
        end = data.find(b"</DOCUMENT>", start)
        if end < 0:
            raise Unreadable("truncated")
        spans.append((start + len(b"<DOCUMENT>"), end))
        start = data.find(b"<DOCUMENT>", end)
    return spans, header_end


def _type(document: bytes) -> str:
    match = _TYPE.search(document, 0, 2000)
    return match[1].decode("latin-1").strip().upper() if match else ""


def _bare(data: bytes, forms: list[str]) -> Submission:
    """A primary document alone, or a submission whose SGML tags somebody has stripped.

    Of the latter, each document begins with lines of its type, its number and its file name.
    """
    if b"CONFORMED SUBMISSION TYPE" not in data[:_HEADER_BYTES]:
        return _submission({}, _decoded(data), 0)
    fields = _fields(data[:_HEADER_BYTES].decode("cp1252", "replace"))
    parts = list(_STRIPPED.finditer(data))
    kinds = [p[1].decode("latin-1").upper() for p in parts]
    if not parts:
        if len(data) < _HEADER_ALONE:
            raise Unreadable("no main document")
        return _submission(fields, _decoded(data), 0)
    main = next((i for i, kind in enumerate(kinds) if kind in forms), 0)
    end = parts[main + 1].start() if main + 1 < len(parts) else len(data)
    content = data[parts[main].end() : end]
    dropped = len(data) - parts[0].start() - (end - parts[main].start())
    return _submission(fields, _decoded(content), dropped)


def _decoded(data: bytes) -> str:
    try:
        return decode(data)
    except Unreadable as error:
        if error.args == ("empty",):
            raise Unreadable("no main document") from error
        raise


def is_html(body: str) -> bool:
    """Two different signs of HTML near the top, or an <html> tag (ASCII filings have <TABLE>)."""
    signs = {m.group().lower()[:5] for m in _HTML.finditer(body, 0, 100_000)}
    return len(signs) > 1 or "<html" in signs or "<!doc" in signs


def _fields(header: str) -> dict[str, str]:
    """The first value of each field of an SGML header (later ones are of co-registrants)."""
    names = {
        "CONFORMED SUBMISSION TYPE": "form",
        "CENTRAL INDEX KEY": "cik",
        "COMPANY CONFORMED NAME": "company",
        "FILED AS OF DATE": "filed",
        "CONFORMED PERIOD OF REPORT": "period",
        "ACCESSION NUMBER": "accession",
        "STANDARD INDUSTRIAL CLASSIFICATION": "sic",
    }
    values: dict[str, str] = {}
    for match in _FIELD.finditer(header):
        name = names.get(match[1])
        if name and name not in values:
            values[name] = match[2].strip()
    values["cik"] = values.get("cik", "").lstrip("0")
    sic = _SIC.search(values.get("sic", ""))
    values["sic"] = sic[1] if sic else ""
    return values
