"""The bytes of one file to text, by the suffix of its name: text, web page, PDF, DOCX, e-mail."""

import contextlib
import email
import email.message
import email.policy
import email.utils
import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from domainlm.corpus.documents import Section
from domainlm.corpus.extract import Unreadable, decode, tidy
from domainlm.corpus.pdf import pdf_to_text
from domainlm.corpus.sections import Heading, cut, markdown_sections, read_html

DOCX_BYTES = 200_000_000  # of a DOCX unpacked; it is read whole
TITLE = 200  # characters of a title at most

_OLE = b"\xd0\xcf\x11\xe0"  # a compound file: an encrypted DOCX, or a DOC
_ENCRYPTED = "EncryptedPackage".encode("utf-16-le")  # [MS-OFFCRYPTO] 2.3.4.4
_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_SIGNS = {f"{_W}tab": "\t", f"{_W}br": "\n", f"{_W}cr": "\n", f"{_W}noBreakHyphen": "-"}
_UNREAD = {  # deleted and moved away; what old readers show instead
    f"{_W}del",
    f"{_W}moveFrom",
    "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback",
}
_HEADING = re.compile(r"heading (\d)|title", re.IGNORECASE)

# Text, sections, facts ("title", "date"; only where the format has them), bytes of attachments.
Content = tuple[str, tuple[Section, ...], dict[str, Any], int]


def read(name: str, data: bytes, tables: str, row: bool = False) -> Content:
    """Tidy text and what else is known of the file `name`; anything unknown is read as text.

    `tables` is the recipe's `source.tables`. `row`: `data` is the text of a table's row, already
    extracted, whatever its name ends in. Raises `Unreadable` with a slug: `empty`, `binary`,
    `undecodable`, `damaged`, `encrypted`, `no_text`, `too_large`.
    """
    suffix = PurePosixPath(name).suffix.lower()
    content: Content
    if suffix in {".md", ".markdown"}:
        text = tidy(decode(data))
        content = text, markdown_sections(text), {}, 0
    elif row:
        content = tidy(decode(data)), (), {}, 0
    elif suffix in {".html", ".htm"}:
        content = (*read_html(decode(data), tables), {}, 0)
    elif suffix == ".pdf":
        content = tidy(pdf_to_text(data)), (), {}, 0
    elif suffix == ".docx":
        content = _docx(data)
    elif suffix == ".eml":
        content = _eml(data, tables)
    else:
        content = tidy(decode(data)), (), {}, 0
    if not content[0]:
        raise Unreadable("empty")
    return content


def whole(text: str) -> str:
    """`text` without halves of surrogate pairs, which no UTF-8 can hold."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _title(text: object) -> dict[str, Any]:
    """The fact "title": one line without control characters; none where nothing is left."""
    line = " ".join(whole(str(text or "")).split())[:TITLE].rstrip()
    return {"title": line} if line.isprintable() and line else {}


def _docx(data: bytes) -> Content:
    """Paragraphs and tables in their order; headings are sections; what was deleted is not read.

    Footnotes, headers and footers are left out. Cells are joined by " | ", as those of web pages.
    """
    import docx

    if data.startswith(_OLE):
        raise Unreadable("encrypted" if _ENCRYPTED in data else "binary")
    blocks: list[str] = []
    headings: list[Heading] = []
    place = 0
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = sum(m.file_size for m in archive.infolist())
        if size > DOCX_BYTES:
            raise Unreadable("too_large")
        document = docx.Document(io.BytesIO(data))
        names = {style.style_id: style.name or "" for style in document.styles}
        for block in _below(document.element.body, f"{_W}p", f"{_W}tbl"):
            if block.tag == f"{_W}tbl":
                text = tidy("\n".join(_rows(block)))
            else:
                text = tidy(_words(block))
                style = block.find(f"{_W}pPr/{_W}pStyle")
                name = names.get(style.get(f"{_W}val"), "") if style is not None else ""
                level = _HEADING.fullmatch(name)
                if level and text:
                    headings.append((int(level[1] or 0), place, text))
            if text:
                blocks.append(text)
                place += len(text) + 2
        title = document.core_properties.title
    except (Unreadable, MemoryError):
        raise
    except Exception as error:  # zip, XML and schema of a stranger: anything may be raised
        raise Unreadable("damaged") from error
    text = "\n\n".join(blocks)
    return text, cut(text, headings), _title(title), 0


def _below(node: Any, *tags: str) -> Iterator[Any]:
    """The nearest elements of these tags below `node`, in order."""
    for child in node:
        if child.tag in tags:
            yield child
        elif child.tag not in _UNREAD:
            yield from _below(child, *tags)


def _rows(table: Any) -> Iterator[str]:
    for row in _below(table, f"{_W}tr"):
        cells = (" ".join(_words(cell).split()) for cell in _below(row, f"{_W}tc"))
        yield " | ".join(cell for cell in cells if cell)


def _words(node: Any) -> str:
    """The text below an element, inserted revisions and text boxes included."""
    parts = []
    for child in node:
        if child.tag == f"{_W}t":
            parts.append(child.text or "")
        elif child.tag in _SIGNS:
            parts.append(_SIGNS[child.tag])
        elif child.tag not in _UNREAD:
            parts.append(_words(child))
            if child.tag == f"{_W}p":
                parts.append("\n")
    return "".join(parts)


def _eml(data: bytes, tables: str) -> Content:
    """The body, plain rather than HTML; every other part is a document of its own, left out."""
    facts: dict[str, Any] = {}
    try:
        message = email.message_from_bytes(data, policy=email.policy.default)
        body = message.get_body(("plain", "html"))
        if body is None:
            raise Unreadable("no_text")
        content = _decoded(body)
        html = body.get_content_subtype() == "html"
        others = (p.get_payload() for p in message.walk() if p is not body)
        dropped = sum(len(p) for p in others if isinstance(p, str))
        facts = _title(message["subject"])
        with contextlib.suppress(TypeError, ValueError, OverflowError):
            facts["date"] = email.utils.parsedate_to_datetime(str(message["date"])).date()
    except (Unreadable, MemoryError):
        raise
    except Exception as error:  # the parser of headers raises all sorts of things
        raise Unreadable("damaged") from error
    if html:
        return *read_html(decode(content), tables), facts, dropped
    return tidy(decode(content)), (), facts, dropped


def _decoded(part: email.message.Message) -> bytes:
    """A part's bytes, in UTF-8 where they are what its charset says."""
    payload = part.get_payload(decode=True)
    content = payload if isinstance(payload, bytes) else b""
    try:
        return content.decode(part.get_content_charset("ascii")).encode("utf-8", "replace")
    except (LookupError, UnicodeError):
        return content
