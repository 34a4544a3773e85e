"""The traps an extractor of annual reports must survive, each with its exact truth.

They are the 28 of the list "Test cases a 10-K extractor must survive" (`words/traps.txt` has them
with their sources). A trap bends a `reports.Report`, so that all else in the filing is as it was.
"""

import binascii
import dataclasses
import textwrap
from collections.abc import Callable
from typing import Any

from domainlm.samples.company import Block
from domainlm.samples.reports import DATA, LOOKS, Case, Item, Report, paragraphs

_BENDS: dict[str, Callable[..., Case | None]] = {}
_SETTINGS = ("heading", "foot", "columns", "links", "count", "wrap", "filer", "untagged")


@dataclasses.dataclass(frozen=True)
class Trap:
    """A trap: its number in the list, its name, its source, and how it is set."""

    number: int
    name: str
    source: str
    how: dict[str, Any]

    def case(self, seed: int, year: int) -> Case:
        """The filing of `seed`, filed in the year of the trap's time that `year` chooses."""
        how, looks = self.how, str(self.how.get("looks", "plain old mid new")).split()
        first, last = how.get("years", (1994, 2025))
        first = max(first, min(LOOKS[n]["years"][0] for n in looks))
        last = min(last, max(LOOKS[n]["years"][1] for n in looks))
        r = Report(seed, first + year % (last + 1 - first), looks, how.get("form", ""))
        for name in _SETTINGS:
            setattr(r, name, how.get(name, getattr(r, name)))
        r.full |= "wrap" in how
        r.absent += how.get("absent", ())
        if "bold" in how and not r.plain:
            r.heading = r.p("<b>{w} {n}. {t}</b>")
        for number, blocks in how.get("add", {}).items():
            entry = r.entry(number)
            entry.blocks += [_added(r, entry.number, *block) for block in blocks]
        for number, new in how.get("renumber", {}).items():
            r.entry(number).number = new
        for number, title in how.get("retitle", {}).items():
            r.entry(number).title = title
        for numbers, text in how.get("stub", {}).items():
            for number in numbers.split():
                _stub(r, number, text.format(n=number, y=r.year))
        if "merge" in how:
            _merge(r, *how["merge"])
        bend = _BENDS.get(how.get("bend", self.name))
        return (bend(r, **how.get("options", {})) if bend else None) or r.case()


def _added(r: Report, own: str, markup: str, *printed: str) -> Block:
    """A block of markup; `#1` and `#2` are prose, `<p>` is a paragraph of the look."""
    signs = {s: r.spare.pop() for s in ("#1", "#2") if s in markup} | {"{n}": own}
    before, after = r.p("\0").split("\0")
    markup = markup.replace("<p>", before).replace("</p>", after)
    for sign, text in signs.items():
        markup = markup.replace(sign, text)
        printed = tuple(p.replace(sign, text) for p in printed)
    return Block("raw", markup, (printed,))


def _stub(r: Report, number: str, text: str) -> None:
    """Put a pointer in the place of an item's content, which is moved elsewhere."""
    entry = r.entry(number)
    r.moved += entry.blocks
    entry.blocks = paragraphs([text])
    r.flags[entry.label] = "incorporated_by_reference"


def _merge(r: Report, first: str, second: str) -> None:
    one, two = r.entry(first), r.entry(second)
    one.number, one.word = first + r.rng.choice((" and ", ". and ", " & ")) + second, "Items"
    one.title, one.label = f"{one.title} and {two.title}", f"Items {first} and {second}"
    one.blocks += two.blocks
    r.entries.remove(two)


def _bend(function: Callable[..., Case | None]) -> Callable[..., Case | None]:
    _BENDS[function.__name__.strip("_").replace("_", " ")] = function
    return function


# --- Headings and contents ----------------------------------------------------------------------


@_bend
def _contents(r: Report) -> None:
    # Some print the contents twice.
    r.front = [*r.contents(), Block("page"), *(r.contents() if r.rng.random() < 0.5 else ())]


@_bend
def _line_start(r: Report) -> None:
    for number, mention in DATA["mentions"].items():
        for lead in r.spare:  # one with a line that has no room for "Item"
            lines = textwrap.wrap(lead, 75, initial_indent="     ", break_on_hyphens=False)
            full = [n for n, line in enumerate(lines, start=1) if n > 1 and len(line) > 71]
            if full:
                break
        r.spare.remove(lead)
        first, *rest = textwrap.wrap(mention, 70, break_on_hyphens=False)
        lines = lines[: full[-1]]
        markup = "\n".join([*lines, first.replace(" ", "  ", 3), *rest])
        printed = " ".join([*lines, first, *rest]).strip()
        r.entry(number).blocks.insert(1, Block("raw", markup, ((printed,),)))


@_bend
def _index_of_tables(r: Report) -> None:
    captions = [f"Table {n} - {title}" for n, title in enumerate(DATA["captions"], start=6)]
    split = r.rng.random() < 0.5
    rows = [(*(c.split(" - ") if split else [c]), str(40 + n)) for n, c in enumerate(captions)]
    r.front = [*r.contents(), Block("centered", "LIST OF TABLES"), Block("raw", r.table(rows))]
    for caption in captions:
        r.entry("7").blocks += [Block("subheading", caption), *r.prose(1)]


@_bend
def _cross_reference(r: Report, links: bool = False, split: bool = False, word: str = "") -> Case:
    """A report in its own order under its own headings; an index gives the pages of the items."""
    pages, truth, page = {}, [], 3
    body: list[Block] = []
    entries = {e.number: e for e in r.entries}
    for number, title in DATA["own_headings"].items():
        if number not in entries:
            continue
        first = page = page + 1
        body += [Block("page"), Block("raw", f'<div id="s{number}">{r.p(f"<b>{title}</b>")}</div>')]
        blocks = entries[number].blocks + r.prose(2)
        for n, block in enumerate(blocks):
            if n and n % 6 == 0:
                body.append(Block("page"))
                page += 1
            body.append(block)
        pages[number] = f"{first}-{page}{'*' * (number == '8')}" if page > first else f"{first}"
        printed = tuple(b.text for b in blocks if b.kind == "paragraph" and len(b.text) > 60)
        truth.append(Item(f"Item {number}", title, printed))
    rows, halves = [("Item Number", "", "Page")], []
    for number, entry in entries.items():
        at = pages.get(number, "Not applicable")
        at = f'<a href="#s{number}">{at}</a>' if links and number in pages else at
        rows.append((f"{word}{number}.", entry.title, at))
        if split and number == "7":
            halves, rows = [rows], []
    index = "\n".join(map(r.table, [*halves, rows]))
    r.entries, r.page = [], 10**9
    r.front = [Block("centered", "FORM 10-K CROSS-REFERENCE INDEX"), Block("raw", index)]
    r.front += [Block("page"), *r.prose(2), Block("page"), *r.prose(2), *body]
    return dataclasses.replace(r.case(), items=tuple(truth), lenient=True)


# --- Content elsewhere --------------------------------------------------------------------------


@_bend
def _to_an_exhibit(r: Report) -> None:
    exhibit = [b.text for b in r.moved if b.kind == "paragraph"]
    r.documents.append(("EX-13", "annual.txt", "\n\n".join(["FINANCIAL REVIEW", *exhibit])))
    r.absent += [text for text in exhibit if len(text) > 120]


@_bend
def _to_the_last_item(r: Report) -> None:
    r.entry("last").blocks += r.moved


@_bend
def _to_a_section(r: Report, after: bool) -> None:
    section = [Block("centered", "FINANCIAL SECTION"), *r.moved, *r.prose(6)]
    r.shown += [b.text for b in section if b.kind == "paragraph"]
    (r.after if after else r.entries[-1].tail).extend(section)


@_bend
def _signatures(r: Report) -> None:
    r.signatures = r.rng.choice(("SIGNATURE", "Signatures", "S I G N A T U R E S"))
    r.after = [Block("subheading", "POWER OF ATTORNEY"), *r.prose(1)]
    r.after += [Block("centered", "INDEX TO EXHIBITS"), *paragraphs(["21 Subsidiaries"])]
    r.after += [Block("centered", "INDEX TO FINANCIAL STATEMENTS"), *r.prose(4)]
    r.shown += [b.text for b in r.after if b.kind == "paragraph"]


# --- Text ---------------------------------------------------------------------------------------


@_bend
def _hidden(r: Report) -> None:
    r.front = [Block("raw", DATA["hidden"]), *r.contents()]


@_bend
def _pages(r: Report) -> None:
    r.page = 1200
    if "{c}" in r.foot:
        r.absent.append(f"{r.filing.company.name} | {r.year - 1} Form 10-K |")
    for number in ("1", "7"):  # a page ends in the middle of a sentence
        words = r.spare.pop().split()
        one, two = paragraphs((" ".join(words[:9]), " ".join(words[9:])))
        r.entry(number).blocks[1:1] = [one, Block("page"), two]


@_bend
def _nested_tables(r: Report) -> None:
    before, after = "<table><tr><td>" * 26, "</td></tr></table>" * 26
    for block in r.prose(12):
        r.entry("7").blocks.append(Block("raw", before + block.text + after, ((block.text,),)))


_WIDE = [bytes([b]).decode("cp1252", "ignore") or chr(b) for b in range(256)]
_SPOILT: dict[str, Callable[[str], str]] = {
    "cp1252": str,
    "references": lambda c: f"&#{c.encode('cp1252')[0]};",
    "C1": lambda c: chr(c.encode("cp1252")[0]),
    "mojibake": lambda c: "".join(_WIDE[b] for b in c.encode()),
}


@_bend
def _characters(r: Report, how: str) -> None:
    text = "".join(c if c.isascii() else _SPOILT[how](c) for c in DATA["quoted"])
    for number in ("1", "7", "last"):
        r.entry(number).blocks.append(Block("raw", r.p(text), ((DATA["quoted"],),)))
    if how == "cp1252":
        r.encode = lambda whole: whole.encode("cp1252")


# --- Submissions and forms ----------------------------------------------------------------------


@_bend
def _header_alone(r: Report) -> Case:
    data = r.submission([]).removesuffix("</SEC-DOCUMENT>\n").encode()
    return Case(r.form, data, refused="no main document")


@_bend
def _cut_off(r: Report) -> Case:
    r.full = True
    data = r.case().data
    end = r.rng.randrange(len(data) // 2, len(data) - 40)
    return Case(r.form, data[:end], refused="truncated")


@_bend
def _empty(r: Report) -> Case:
    texts = [r.submission([(r.form, "a.htm", t)]) for t in (" \n", "<html><body> </body></html>")]
    data = r.rng.choice(["", " \n\t\n", *texts]).encode()
    return Case(r.form, data, refused="no main document")


def _uuencoded(data: bytes, name: str) -> str:
    lines = [binascii.b2a_uu(data[i : i + 45]).decode() for i in range(0, len(data), 45)]
    return f"begin 644 {name}\n{''.join(lines)}`\nend"


_PICTURE = bytes(range(256)) * 9
_JUNK = [
    ("GRAPHIC", "logo.jpg", _uuencoded(_PICTURE, "logo.jpg")),
    ("EXCEL", "report.xlsx", _uuencoded(b"PK\3\4" + _PICTURE, "report.xlsx")),
    ("ZIP", "xbrl.zip", _uuencoded(b"PK\3\4" + _PICTURE, "xbrl.zip")),
    *((kind, file, text) for kind, file, text in DATA["members"]),
]
_LIKE_HTML = b"%PDF-1.4 <html><body><p>Item 1. Business</p></body></html>" + _PICTURE
_PDF = f"<PDF>\n{_uuencoded(_LIKE_HTML, 'A10K.PDF')}\n</PDF>"


@_bend
def _members(r: Report) -> None:
    r.documents += r.rng.sample(_JUNK, 4)


@_bend
def _in_documents(r: Report, parts: list[str]) -> Case:
    """Documents of the form's type: `{}` is the report, `PDF` a copy of it."""
    r.full = False
    case = r.case()
    texts = [p.replace("PDF", _PDF).replace("{}", case.data.decode()) for p in parts]
    data = r.submission([(r.form, f"d{n}.txt", text) for n, text in enumerate(texts)])
    return dataclasses.replace(case, data=data.encode())


@_bend
def _continued(r: Report) -> Case:
    cut, r.full = len(r.entries) // 2, False
    rest, r.entries, signatures, r.signatures = r.entries[cut:], r.entries[:cut], r.signatures, ""
    first = r.case()
    r.entries, r.signatures, r.front, r.cover = rest, signatures, [Block("raw")], False
    second = r.case()
    texts = [case.data.decode() for case in (first, second)]
    data = r.submission([(r.form, f"d{n}.txt", text) for n, text in enumerate(texts)])
    return dataclasses.replace(first, data=data.encode(), items=first.items + second.items)


@_bend
def _exhibits(r: Report) -> None:
    one, two, three = (b.text for b in r.prose(3))
    r.documents += [
        ("EX-10.1", "ex10.txt", f"Item 1. Business\n\n{one}\n\nItem 2. Properties\n\n{two}"),
        ("EX-13", "ex13.txt", f"Item 7. Management's Discussion\n\n{three}"),
    ]
    r.absent += [one, two, three]


@_bend
def _large(r: Report) -> None:
    r.page = 40_000
    texts = [f"Lot {n}. {r.spare[n % 9]} See Item 7 and Item 8 of Part II." for n in range(18_000)]
    r.entry("8").blocks += paragraphs(texts[3000:])
    r.entry("1").blocks += [*paragraphs(texts[:3000]), Block("raw", "&nbsp; " * 40_000)]


@_bend
def _amendment(r: Report) -> None:
    last = r.entry("last")
    r.entries = [e for e in r.entries if e.number in ("10", "11", "12", "13")] + [last]
    for entry in r.entries[:-1]:
        entry.blocks = [Block("subheading", "General"), *r.prose(2)]
    notes = [text.format(n=last.number, y=r.year - 1) for text in DATA["note"]]
    r.front = [Block("centered", "EXPLANATORY NOTE"), *paragraphs(notes)]


@_bend
def _asset_backed(r: Report) -> None:
    r.front = r.rng.choice(([], [Block("raw")]))  # most have no contents
    for entry in r.entries:
        if entry is not r.entry("last"):
            entry.blocks = paragraphs([r.rng.choice(("Omitted.", "None.", "Not applicable."))])
    for title in DATA["regulation_ab"]:
        r.entry("14").tail += [Block("subheading", title), *r.prose(1)]


TRAPS = [Trap(t.pop("number"), t.pop("name"), t.pop("source"), t) for t in DATA["trap"]]
