"""HTML to the text that a reader of the page sees, with the places that its links join.

Structure becomes control characters written into the markup itself: one regular expression over
the source, the lexbor parser, one C call for the text, and everything after that works on one
string. Marks of cells and rows are white space to an HTML parser, which puts any other character
between two cells in front of the table (HTML standard, "foster parenting"). Each step is linear in
the size of its input. `decode` removes control characters, so the marks are ours alone.
"""

import re

from selectolax.lexbor import LexborHTMLParser, LexborNode

from domainlm.corpus.defuse import HEAD, defused
from domainlm.corpus.edgar.pages import joined, tidied
from domainlm.corpus.edgar.plain import one_space, paged_text
from domainlm.corpus.marks import DIGITS, END, LINK, PAGE, TABLE_MARKER, TARGET, without_marks

CELL, ROW = "\f", "\t"  # before a cell, around a row: white space to the parser
PARAGRAPH, BREAK, TABLE, PRE, PRE_END = "\x01\x02\x03\x04\x05"
INLINE, INLINE_END = "\x06\x07"  # of a <div style="display:inline">: a span by another name
HIDDEN, HIDDEN_END = "\x11\x12"
RULE = "\x13"  # a line across the page: where one ends, in most filings

# First what most tags are, spans and facts and ends of cells: it is quickest to tell them at once.
_STRUCTURE = re.compile(
    r"<(?!/?(?:span|ix:|font|a|b|i|u)[\s>/]|/?ix:|/t[dh])(?=(t[dh])[\s>/]|/?(?:(tr|li)|p|div|[uod]l|"
    r"d[dt]|hr|h[1-6]|blockquote|center|section|article|aside|header|footer|main|nav|address|"
    r"fig(?:ure|caption)|form|fieldset|caption|type|sequence|filename)[\s>/]|(br)[\s>/])"
)
_STRUCTURE_MARKS = (f"{PARAGRAPH}<", f"{CELL}<", f"{ROW}<", f"{BREAK}<")  # by the group's number
_HIDDEN = frozenset(
    [
        "script", "style", "noscript", "template", "title", "textarea", "select", "object",
        "iframe", "svg", "canvas", "audio", "video", "datalist", "noembed", "dialog", "rp",
        "ix:header", "ix:hidden",
    ]
)  # fmt: skip
# What `_mark_special` looks at. A selector costs less for each of the commonest elements (most of
# a filing is spans, cells and facts) than Python does, and each further part of it costs a walk.
_SPECIAL = (
    "*:not(span,td,div,tr,p,br,font,b,i,u,tbody,col,img,ix\\:nonfraction,ix\\:nonnumeric,"
    'ix\\:continuation),div[id],p[id],span[id],td[id],tr[id],[hidden],[style*="display" i]'
)
_VISIBILITY = ',[style*="visibility" i]'
_DECLARATION = re.compile(r"(?:^|;)\s*(display|visibility)\s*:\s*([a-z-]+)\s*(?=!|;|$)", re.I)
# Of style sheets only this is read: a class or an id (no more) that is not shown.
_HIDING_RULE = re.compile(r"([.#][\w-]+)\s*\{[^{}]*(?:display\s*:\s*none|visibility\s*:\s*hidden)")
_PAIRS = [
    pair.encode()
    for pair in (f" {PARAGRAPH}", f"{PARAGRAPH}{PARAGRAPH}", f" {CELL}", f"{PARAGRAPH}{CELL}")
]
_RULES = 100  # of style sheets, at most: each is a look at every element
_EMPTY_CELLS = re.compile(f"{CELL}[{PARAGRAPH}{BREAK}{CELL} ]+")
# A lone "$" or "(" belongs to the number after it, a lone ")" or "%" to the one before.
_OPENING = re.compile(f"{CELL}([(]?[$€£¥][ (]{{0,2}}|[(] ?){CELL}")
_CLOSING = re.compile(f"{CELL}([)%]{{1,3}}|[)] %)(?=[{CELL}{ROW}{TABLE}]|$)")
_NUMERIC = re.compile(
    r"[$€£¥(]{0,3}[-\u2013—+]?[ ]?[$€£¥]?[,.]*\d[\d,.]*[ )%xX*]{0,4}|[-\u2013—]+|N/?[AM]"
)
_BULLET = re.compile(r"(?:[•●○■□▪·*\u2013—o-]|\([a-z0-9]{1,3}\)|[a-z0-9]{1,2}[.)])")
_LONGEST_BULLET = 5  # characters
_EDGES = CELL + " "
_LAYOUT_CHARS = 300  # a cell of more paragraphs than one and this many characters is layout


def html_to_text(html: str, tables: str = "keep") -> str:
    """What a reader of the page sees: paragraphs a blank line apart, table rows one a line.

    Cells are joined by " | ", empty ones left out. Of tables with more numeric cells than others,
    `tables="drop"` leaves nothing and `"mark"` a line `[table]`. Never raises on bad markup.
    """
    return joined(without_marks(marked_text(html, tables))[0])


def marked_text(html: str, tables: str = "keep") -> str:
    """As `html_to_text`, with the marks of links and their targets still in the text."""
    parser = LexborHTMLParser(_with_structure(defused(html)), scripting=True)
    body = parser.body or parser.root
    if body is None:
        return ""
    _mark_special(body, _SPECIAL + (_VISIBILITY if "isibility" in html else ""))
    rules = _HIDING_RULE.findall(html, 0, HEAD)
    if rules and "@media" not in html[:HEAD]:  # those may be for paper alone
        for node in body.css(",".join([*dict.fromkeys(rules)][:_RULES])):
            _around(node, HIDDEN, HIDDEN_END)
    marked = _without_hidden(body.text_lexbor())
    for mark in (INLINE, INLINE_END):
        marked = marked.replace(PARAGRAPH + mark, "").replace(mark, "")
    if PRE not in marked and PRE_END not in marked:
        return _flow(marked, tables).replace(RULE, PAGE)
    out: list[str] = []
    depth = 0
    for piece in re.split(f"([{PRE}{PRE_END}])", marked):
        if piece == PRE:
            depth += 1
        elif piece == PRE_END:
            depth = max(0, depth - 1)
        elif depth:
            flat = re.sub(f"[{PARAGRAPH}{BREAK}{ROW}{TABLE}]", "\n", piece).replace(CELL, "  ")
            flat = flat.replace("\r", " ")
            out.append(paged_text(flat, tables))
        else:
            out.append(_flow(piece, tables))
    return tidied(out).replace(RULE, PAGE)


def _with_structure(html: str) -> str:
    """Marks before cells and breaks, and at both ends of rows and blocks."""
    return _STRUCTURE.sub(lambda match: _STRUCTURE_MARKS[match.lastindex or 0], html)


def _mark_special(body: LexborNode, selector: str) -> None:
    """Marks around what is hidden, tables and <pre>, and at both ends of links within the page."""
    links: dict[str, list[LexborNode]] = {}
    anchors: list[LexborNode] = []
    for node in body.css(selector):
        tag, attributes = node.tag, node.attrs
        display = "none" if tag in _HIDDEN or "hidden" in attributes else ""
        style = (attributes.get("style") or "").lower()
        if "display" in style or "visibility" in style:
            declared = dict(_DECLARATION.findall(style))
            display = declared.get("display", display)
            if declared.get("visibility") in ("hidden", "collapse") or tag in _HIDDEN:
                display = "none"
        if display == "none":
            _around(node, HIDDEN, HIDDEN_END)
            continue
        if tag == "table":
            _around(node, TABLE, TABLE)
        elif tag == "hr":
            node.insert_after(PARAGRAPH + RULE + PARAGRAPH)
        elif tag == "pre":
            _around(node, PRE, PRE_END)
        elif tag == "div" and display.startswith("inline"):
            _around(node, INLINE, INLINE_END)
        elif tag == "a" and (href := attributes.get("href") or "").startswith("#"):
            links.setdefault(href[1:], []).append(node)
        anchors.append(node)
    numbers = {name: f"{n:0{DIGITS}}" for n, name in enumerate(links) if n < 10**DIGITS}
    for name, number in numbers.items():
        for count, node in enumerate(links[name]):
            node.insert_before(f"{LINK}{number}{count}{END}")
    for node in anchors if numbers else ():
        for key in {node.attrs.get("id"), node.attrs.get("name")}:
            if key in numbers:
                node.insert_before(f"{TARGET}{numbers[key]}{END}")


def _around(node: LexborNode, before: str, after: str) -> None:
    node.insert_before(before)
    node.insert_after(after)


def _without_hidden(text: str) -> str:
    shown, *pieces = text.split(HIDDEN)
    out, depth = [shown], 0
    for piece in pieces:
        depth += 1
        inside = piece.split(HIDDEN_END, depth)
        depth = max(0, depth - len(inside) + 1)
        out.append(inside[-1] if depth == 0 else "")
    return "".join(out).replace(HIDDEN_END, "")


def _flow(marked: str, tables: str) -> str:
    """Text with marks to text with line breaks; rows first, since cells may hold blocks."""
    data = one_space(marked.encode("utf-8", "replace"))
    for pair in _PAIRS:
        data = data.replace(pair, pair[1:])
    text = data.decode()
    if TARGET in text:  # a mark goes to the text that follows it
        first, *rest = text.split(TARGET)
        text = first + "".join(map(_carried, rest))
    text = _EMPTY_CELLS.sub(CELL, text)
    text = _CLOSING.sub(r"\1", _OPENING.sub(CELL + r"\1", text))
    out: list[str] = []
    for part in text.split(TABLE):
        if CELL in part and tables != "keep" and _is_numeric(part):
            if tables == "mark":
                out.append(TABLE_MARKER)
            continue
        plain = PARAGRAPH not in part and BREAK not in part
        rows = [(_cells if plain else _row)(r) for r in part.split(ROW)]
        block = "\n".join(r for r in rows if r)
        if block:
            out.append(block)
    return tidied(out)


def _carried(text: str) -> str:
    """Of "12 END marks text": the mark of a target, but behind the marks."""
    number, end, rest = text.partition(END)
    words = rest.lstrip(f" {CELL}{ROW}{PARAGRAPH}{BREAK}{TABLE}")
    return f"{rest[: len(rest) - len(words)]}{TARGET}{number}{end}{words}"


def _row(row: str) -> str:
    """One row's text: a line of cells, or paragraphs where the row only lays out text."""
    row = row.strip(CELL + " ")
    if not row or row == PARAGRAPH:
        return ""
    if PARAGRAPH not in row and BREAK not in row:
        return _cells(row)
    cells = row.split(CELL)
    flowing = [_paragraphs(c) for c in cells]
    if len(cells) == 1:
        # The blank line keeps prose apart from the rows around it.
        return f"\n{flowing[0]}\n" if flowing[0] else ""
    if any("\n" in f and len(f) > _LAYOUT_CHARS for f in flowing):
        return "\n" + "\n\n".join(f for f in flowing if f) + "\n"
    return _cells(CELL.join(" ".join(f.split()) for f in flowing if f))


def _cells(row: str) -> str:
    """Cells of one line each, joined; a bullet or a number in a cell of its own has no bar."""
    row = row.strip(_EDGES)
    if CELL not in row:
        return row
    if " " in row:
        row = row.replace(f"{CELL} ", CELL)
    first = row.find(CELL)
    if first <= _LONGEST_BULLET and _BULLET.fullmatch(row, 0, first):
        row = f"{row[:first]} {row[first + 1 :]}"
    return row.replace(CELL, " | ")


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
