"""Bytes to clean text, for any corpus: decode, then HTML, ASCII filing or plain text to text.

HTML goes through the lexbor parser; structure becomes control characters put into the tree (one
insertion an element), one C call gives the text, and everything after that works on one string.
Each step is linear in the size of its input. `decode` removes control characters, so the marks
cannot come from the document.
"""

import re
import unicodedata

import ftfy
from selectolax.lexbor import LexborHTMLParser, LexborNode

from domainlm.corpus.edgar.plain import one_space, plain_to_text, visible

__all__ = ["Unreadable", "decode", "html_to_text", "plain_to_text", "tidy"]

PARAGRAPH, BREAK, CELL, ROW, TABLE, PRE, PRE_END = "\x01\x02\x03\x04\x05\x06\x07"

# Tab, line feed, form feed and carriage return stay; the rest of C0 and DEL goes.
_CONTROL = bytes(b for b in (*range(32), 127) if b not in b"\t\n\f\r")
_MAGIC = (b"%PDF", b"PK\x03\x04", b"\x1f\x8b", b"\xd0\xcf\x11\xe0", b"\xff\xd8\xff", b"\x89PNG")
# C1 controls are cp1252 punctuation in disguise; the five that cp1252 leaves free are dropped.
_C1 = {c: bytes([c]).decode("cp1252", "ignore") for c in range(0x80, 0xA0)}
_C1_SIGN = re.compile("[\x80-\x9f]")
# UTF-8 read as cp1252: a lead byte (Â Ã â) before a continuation byte.
_MOJIBAKE = re.compile(
    "[ÂÃ][\x80-\xbf€\u201aƒ„…†‡\u02c6‰Š\u2039Œ\u2018\u2019“”•\u2013—\u02dc™š\u203aœ]|â€|â„¢"
)


class Unreadable(Exception):
    """The bytes hold no text; the only argument is a slug: `empty`, `binary`, `truncated` ..."""


def decode(data: bytes) -> str:
    """Text of `data` in NFC, with line feeds as line ends and no control characters.

    Byte order marks decide; then UTF-8, else cp1252. Mojibake is repaired line by line where its
    signs are seen. Raises `Unreadable`: `empty`, `binary` or `undecodable`.
    """
    if not data.strip():
        raise Unreadable("empty")
    text = _decode(data)
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not text.isascii():
        if _C1_SIGN.search(text):
            text = text.translate(_C1)
        if _MOJIBAKE.search(text):
            lines = text.split("\n")
            text = "\n".join(ftfy.fix_encoding(x) if _MOJIBAKE.search(x) else x for x in lines)
            text = text.translate(_C1)
        text = unicodedata.normalize("NFC", text)
    if not text.strip():
        raise Unreadable("empty")
    return text


def _decode(data: bytes) -> str:
    for mark, encoding in ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")):
        if data.startswith(mark):
            try:
                wide = data[2:].decode(encoding)
            except UnicodeDecodeError as error:
                raise Unreadable("undecodable") from error
            return _decode(wide.encode("utf-8", "replace")) if wide else ""
    if data.startswith(_MAGIC) or b"\0" in data:
        raise Unreadable("binary")
    data = data.removeprefix(b"\xef\xbb\xbf")
    clean = data.translate(None, _CONTROL)
    if len(data) - len(clean) > 2 + 0.03 * len(data):
        raise Unreadable("binary")
    try:
        return clean.decode()
    except UnicodeDecodeError as error:
        # Most of the file is UTF-8 with a few stray bytes: keep it UTF-8 and map those bytes.
        if clean[: error.start].isascii() and _share_of_utf8(clean) < 0.5:
            return clean.decode("latin-1")
        return clean.decode("utf-8", "surrogateescape").translate(_STRAY)


_STRAY = {0xDC00 + b: bytes([b]).decode("cp1252", "ignore") for b in range(0x80, 0x100)}


def _share_of_utf8(data: bytes) -> float:
    """Share of the bytes above 127 that are parts of valid UTF-8 sequences."""
    high = sum(map(len, re.findall(rb"[\x80-\xff]+", data)))
    valid = re.findall(rb"[\xc3-\xdf][\x80-\xbf]|[\xe1-\xef][\x80-\xbf]{2}|\xc2[\x80-\xbf]", data)
    return sum(map(len, valid)) / high if high else 1.0


def tidy(text: str) -> str:
    """NFC, no space at line ends, at most one blank line in a row, none at either end."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    text = "\n".join(map(str.rstrip, text.split("\n")))
    return re.sub(r"\n{3,}", "\n\n", text).strip()


# --- HTML ---------------------------------------------------------------------------------------

# Names for one pass over the tree; the selector leaves out the commonest elements (most of a
# filing is spans, cells and facts), since a selector costs less for each than Python does.
_HIDDEN_NAMES = (
    "script style noscript template title textarea select object iframe svg ix:header ix:hidden"
)
_BLOCK_NAMES = (
    "p div ul ol dl dt dd hr h1 h2 h3 h4 h5 h6 blockquote center section article aside header "
    "footer main nav address figure figcaption form fieldset caption type sequence filename"
)
_HIDDEN = frozenset(_HIDDEN_NAMES.split())
_MARKS = {**dict.fromkeys(_BLOCK_NAMES.split(), PARAGRAPH), "tr": ROW, "li": ROW, "table": TABLE}
_INTERESTING = (
    r"*:not(span,td,th,font,a,b,i,u,tbody,col,ix\:nonfraction,ix\:nonnumeric,ix\:continuation)"
)
_CELLS = "td:not(:empty),th:not(:empty)"
_HIDDEN_STYLE = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.I)
_INLINE_STYLE = re.compile(r"display\s*:\s*inline", re.I)
# In XHTML these may close themselves; an HTML parser would swallow all that follows.
_SELF_CLOSED = re.compile(
    r"<(script|style|title|textarea|iframe|noscript|template|select|object|ix:header|ix:hidden)"
    r"(\s[^<>]*)?/>",
    re.I,
)
_HEAD = 100_000  # characters in which the head and the XBRL header begin
_CDATA = re.compile(r"<!\[CDATA\[|\]\]>")
_EMPTY_CELLS = re.compile(f"{CELL}[{PARAGRAPH}{BREAK}{CELL} ]+")
# A lone "$" or "(" belongs to the number after it, a lone ")" or "%" to the one before.
_OPENING = re.compile(f"{CELL}([(]?[$€£¥][ (]{{0,2}}|[(] ?){CELL}")
_CLOSING = re.compile(f"{CELL}([)%]{{1,3}}|[)] %)(?=[{CELL}{ROW}])")
_NUMERIC = re.compile(
    r"[$€£¥(]{0,3}[-\u2013—+]?[ ]?[$€£¥]?[\d,.]*\d[\d,.]*[ )%xX*]{0,4}|[-\u2013—]+|N/?[AM]"
)
_BULLET = re.compile(r"(?:[•●○■□▪·*\u2013—o-]|\([a-z0-9]{1,3}\)|[a-z0-9]{1,2}[.)])")
_LAYOUT_CHARS = 300  # a cell of more paragraphs than one and this many characters is layout


def html_to_text(html: str, tables: str = "keep") -> str:
    """What a reader of the page sees: paragraphs a blank line apart, table rows one a line.

    Cells are joined by " | ", empty ones left out. `tables="drop"` leaves out tables with more
    numeric cells than others. Never raises on malformed markup.
    """
    parser = LexborHTMLParser(_defused(html))
    body = parser.body or parser.root
    if body is None:
        return ""
    styles = ("display", "visibility") if "isibility" in html else ("display",)
    selector = ",".join(f'[style*="{style}" i]:not(:empty)' for style in styles) + ",[hidden]"
    for node in body.css(selector):
        if _HIDDEN_STYLE.search(node.attrs.sget("style")) or "hidden" in node.attrs:
            node.decompose()
    _mark(body)
    marked = body.text_lexbor()
    pieces = (
        re.split(f"([{PRE}{PRE_END}])", marked) if PRE in marked or PRE_END in marked else [marked]
    )
    out: list[str] = []
    depth = 0
    for piece in pieces:
        if piece == PRE:
            depth += 1
        elif piece == PRE_END:
            depth = max(0, depth - 1)
        elif depth:
            flat = re.sub(f"[{PARAGRAPH}{BREAK}{ROW}{TABLE}]", "\n", piece).replace(CELL, "  ")
            out.append(plain_to_text(flat.replace("\xa0", " "), tables))
        else:
            out.append(_flow(piece, tables))
    text = "\n\n".join(out)
    while "\n\n\n" in text:
        text = text.replace("\n\n\n", "\n\n")
    return text.strip()


def _defused(html: str) -> str:
    """`html` without what makes a standard HTML parser lose text or take quadratic time."""
    if _SELF_CLOSED.search(html, 0, _HEAD):
        head = html.find("<", _HEAD) if len(html) > _HEAD else len(html)
        html = _SELF_CLOSED.sub(r"<\1\2></\1>", html[:head]) + html[head:]
    if "<![CDATA[" in html:
        html = _CDATA.sub("", html)
    # Thousands of unclosed elements: each one costs a walk over all the others. Browsers stop at
    # a depth of 512; here inline ones are left out and a <div> becomes a <p>, which closes itself.
    if html.count("<") - 2 * html.count("</") - html.count("/>") > 2000:
        lower = html.lower()
        for tag in ("font", "b", "i", "u", "a", "span", "div"):
            if lower.count(f"<{tag}") - lower.count(f"</{tag}") > 2000:
                inline = re.compile(rf"</?{tag}(?:\s[^<>]*)?>", re.I)
                html = inline.sub("<p>" if tag == "div" else "", html)
    return html


def _mark(body: LexborNode) -> None:
    """Put the structure into the text: marks around blocks and rows, one after each cell."""
    for node in body.css(_CELLS):
        node.insert_after(CELL)
    for node in body.css(_INTERESTING):
        tag = node.tag or ""
        mark = _MARKS.get(tag)
        if mark is not None:
            # A <div style="display:inline"> is a span by another name (some filers' software).
            if tag == "div" and _INLINE_STYLE.search(node.attrs.sget("style")):
                continue
            node.insert_before(mark)
            node.insert_after(mark)
        elif tag == "br":
            node.insert_after(BREAK)
        elif tag in _HIDDEN:
            node.decompose()
        elif tag == "pre":
            node.insert_before(PRE)
            node.insert_after(PRE_END)


def _flow(marked: str, tables: str) -> str:
    """Text with marks to text with line breaks; rows first, since cells may hold blocks."""
    text = one_space(visible(marked))
    for mark in (f" {PARAGRAPH}", f"{PARAGRAPH}{PARAGRAPH}", f" {CELL}", f"{PARAGRAPH}{CELL}"):
        text = text.replace(mark, mark[1])
    # Each row begins with a cell mark, so that the patterns of cells see its first cell too.
    text = _EMPTY_CELLS.sub(CELL, text.replace(ROW, ROW + CELL))
    text = _CLOSING.sub(r"\1", _OPENING.sub(CELL + r"\1", text))
    out: list[str] = []
    for part in text.split(TABLE):
        if CELL in part and tables == "drop" and _is_numeric(part):
            continue
        rows = [_row(r) for r in part.split(ROW)]
        block = "\n".join(r for r in rows if r)
        if block:
            out.append(block)
    return "\n\n".join(out)


def _row(row: str) -> str:
    """One row's text: a line of cells, or paragraphs where the row only lays out text."""
    row = row.strip(CELL + " ")
    if not row or row == PARAGRAPH:
        return ""
    if PARAGRAPH not in row and BREAK not in row:
        return _join(row.split(CELL)) if CELL in row else row
    cells = row.split(CELL)
    flowing = [_paragraphs(c) for c in cells]
    if len(cells) == 1:
        # The blank line keeps prose apart from the rows around it.
        return f"\n{flowing[0]}\n" if flowing[0] else ""
    if any("\n" in f and len(f) > _LAYOUT_CHARS for f in flowing):
        return "\n" + "\n\n".join(f for f in flowing if f) + "\n"
    return _join([" ".join(f.split()) for f in flowing])


def _join(cells: list[str]) -> str:
    filled = [c.strip() for c in cells if c and not c.isspace()]
    if len(filled) > 1 and _BULLET.fullmatch(filled[0]):
        return f"{filled[0]} {' | '.join(filled[1:])}"
    return " | ".join(filled)


def _paragraphs(text: str) -> str:
    """Paragraph and line marks to blank lines and line breaks."""
    out = []
    for part in text.split(PARAGRAPH):
        if BREAK in part:
            part = "\n".join(line.strip() for line in part.split(BREAK))
        part = part.strip()
        if part:
            out.append(part)
    return "\n\n".join(out)


def _is_numeric(table: str) -> bool:
    """More than half of the filled cells are numbers (layout tables and indexes are not)."""
    cells = [c.strip() for c in re.split(f"[{CELL}{ROW}]", table)]
    filled = [c.strip(PARAGRAPH + BREAK + " ") for c in cells if c]
    numbers = sum(1 for c in filled if _NUMERIC.fullmatch(c))
    return numbers * 2 > len(filled)
