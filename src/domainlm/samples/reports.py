"""An annual report of any era, to be bent into a trap: its pages, its headings, its exact truth.

Titles of items by year are those of Form 10-K and its amendments; the looks are those of typists
and of three generations of filing agents (`words/traps.txt`, where the sources stand).
"""

import dataclasses
import functools
import html
import itertools
import random
import re
import textwrap
import tomllib
from collections.abc import Callable, Iterable, Sequence
from importlib import resources
from typing import Any

from domainlm.samples.company import OUTLINE, Block, filings, found
from domainlm.samples.edgar import _DOCUMENT, _HEADER
from domainlm.samples.layout import _hidden, _plain

DATA: dict[str, Any] = tomllib.loads(
    (resources.files("domainlm.samples") / "words" / "traps.txt").read_text("utf-8")
)
LOOKS: dict[str, dict[str, Any]] = DATA["looks"]
_PAGE = 3000  # characters
_ONES = ("", "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX")
_COVER = (
    "Indicate by check mark if disclosure of delinquent filers pursuant to Item 405 of Regulation "
    "S-K is not contained herein, and will not be contained in definitive proxy statements "
    "incorporated by reference in Part III of this Form 10-K.",
    "Portions of the proxy statement are incorporated by reference in Part III, Items 10 to 14.",
)
_SIGNED = (
    "Pursuant to the requirements of Section 13 or 15(d) of the Securities Exchange Act of 1934, "
    "the registrant has duly caused this report to be signed on its behalf.",
    "By: /s/ The Principal Executive Officer",
)


@dataclasses.dataclass(frozen=True)
class Item:
    """The truth about an item: all that is printed in it, in order; the rows of tables have tabs.

    `tail` follows it and belongs to no item; an item that goes on over it has taken in too much.
    """

    label: str
    heading: str
    printed: tuple[str, ...]
    tail: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Case:
    """The bytes of a filing and the truth: its items, and words that must or must not be there.

    `flags` has the flag that an item must carry. With `lenient` an item may be missing, but only
    with the flag `not_found`. `refused` is the reason why the file cannot be read.
    """

    form: str
    data: bytes
    items: tuple[Item, ...] = ()
    shown: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    flags: dict[str, str] = dataclasses.field(default_factory=dict)
    lenient: bool = False
    refused: str = ""


@dataclasses.dataclass
class Entry:
    """An item to be printed; `number` is what stands after the word, `label` what it means."""

    number: str
    title: str
    blocks: list[Block]
    label: str
    word: str = "Item"
    tail: list[Block] = dataclasses.field(default_factory=list)


def paragraphs(texts: Iterable[str]) -> list[Block]:
    """A paragraph for each of the texts."""
    return [Block("paragraph", text) for text in texts]


@functools.cache
def _lent(index: int) -> tuple[tuple[str, ...], int]:
    """Paragraphs of a company of some other industry, and how many they are."""
    reports = filings(found(index, 0), range(2003, 2006), 0)
    texts = [b.text for f in reports for _, blocks in f.items for b in blocks[1:] if not b.rows]
    own = (t for t in texts if len(t) > 110 and "proxy statement" not in t)  # that is everybody's
    lent = tuple(dict.fromkeys(own))
    return lent, len(lent)


def _escaped(text: str) -> str:
    return html.escape(text, quote=False)


class Report:
    """A report filed in `year`, whole and correct, in one of the `looks` of the time."""

    def __init__(self, seed: int, year: int, looks: Sequence[str], form: str = "") -> None:
        self.rng = rng = random.Random(f"{seed}-{year}")
        self.year, world = year, rng.randrange(10**6)
        company = dataclasses.replace(found(rng.randrange(60), world), founded=1921 + seed % 60)
        self.filing = next(filings(company, range(year, year + 1), world))
        of_time = [n for n in looks if LOOKS[n]["years"][0] <= year <= LOOKS[n]["years"][1]]
        self.name = rng.choice(of_time)
        self.look = LOOKS[self.name]
        self.plain = self.name == "plain"
        self.form = form or rng.choice(["10-K", "10-K405"] if 1996 <= year <= 2002 else ["10-K"])
        self.spare = rng.sample(*_lent(company.index + rng.randint(1, 5)))  # each to be used once
        self.heading, self.foot = "{w} {n}. {t}", "{p}"
        self.wrap, self.filer, self.untagged = ["", ""], "", False
        self.capitals, self.full = rng.random() < 0.5, rng.random() < 0.5
        self.cover, self.page, self.count, self.columns = True, _PAGE, 0, rng.choice((2, 3))
        self.front: list[Block] = []  # in the place of the contents
        self.signatures = "SIGNATURES"
        self.after: list[Block] = []
        self.links: list[int] = []
        self.documents: list[tuple[str, str, str]] = []
        self.encode: Callable[[str], bytes] = str.encode
        self.shown: list[str] = []
        self.absent = ["HiddenFactMember", "us-gaap:"] if self.name == "new" else []
        self.flags: dict[str, str] = {}
        self.moved: list[Block] = []  # what stubs have replaced
        self.entries = list(self._outline(DATA["small" if form == "10-KSB" else "annual"]))

    def _outline(self, table: str) -> Iterable[Entry]:
        titles = {number: title for number, title, _ in OUTLINE}
        for line in table.splitlines():
            row, _, title = line.partition("|")
            first, last, number, source = row.split()
            if int(first) <= self.year <= int(last):
                blocks = list(dict(self.filing.items).get(f"Item {source}", ())[1:])
                if source in ("1", "1A", "2", "3", "5", "7", "8", "9A", "-") and "[" not in title:
                    blocks += [] if "(" in title else self.prose(self.rng.randint(1, 3))
                yield Entry(number, title.strip() or titles[source], blocks, f"Item {number}")

    def prose(self, count: int) -> list[Block]:
        """Paragraphs that stand nowhere else in the report."""
        return paragraphs(self.spare.pop() for _ in range(count))

    def entry(self, number: str) -> Entry:
        """The entry with this number; "last" is that of the exhibits."""
        return next(
            e
            for e in reversed(self.entries)
            if e.number == number or (number == "last" and e.title.startswith("Exhibit"))
        )

    def p(self, markup: str) -> str:
        """Markup as a paragraph of this look."""
        return str(self.look["paragraph"]).format(markup) if not self.plain else f"{markup}\n"

    def table(self, rows: Iterable[Sequence[str]]) -> str:
        """A table; cells that begin with a tag are markup."""
        out = [
            "".join(self.look["cell"].format(c if c[:1] == "<" else _escaped(c)) for c in row)
            for row in rows
        ]
        return "<table>\n" + "\n".join(f"<tr>{cells}</tr>" for cells in out) + "\n</table>"

    def case(self) -> Case:
        """Print it: the bytes and the truth."""
        blocks: list[Block] = []
        items = []
        if self.cover:
            name, end = self.filing.company.name, f"{self.filing.period:%B %d, %Y}"
            lines = ["SECURITIES AND EXCHANGE COMMISSION", f"FORM {self.form}", name]
            blocks += [Block("centered", line) for line in (*lines, f"For the year ended {end}")]
            blocks += paragraphs(_COVER)
        blocks += self.front or self.contents()
        for n, entry in enumerate(self.entries):
            markup = self._titled(entry)
            blocks += [*self._part(entry), Block("heading", markup, ((f"item_{n}",),))]
            blocks += [*entry.blocks, *entry.tail]
            printed, tail = (
                tuple(itertools.chain.from_iterable(map(self._printed, part)))
                for part in (entry.blocks, entry.tail)
            )
            heading = html.unescape(re.sub(r"<[^<>]*>", "", markup))
            items.append(Item(entry.label, heading, printed, tail))
        if self.signatures:
            blocks += [Block("centered", self.signatures), *paragraphs(_SIGNED)]
        text = self._laid(blocks + self.after)
        if self.full or self.documents or self.count:
            text = self.submission([(self.form, "report.txt", text), *self.documents])
        text = text.replace("</SEC-HEADER>", self.filer + "</SEC-HEADER>", 1).join(self.wrap)
        truth = (tuple(items), tuple(self.shown), tuple(self.absent), self.flags)
        return Case(self.form, self.encode(text), *truth)

    def submission(self, documents: Sequence[tuple[str, str, str]]) -> str:
        """A full submission of documents, each a type, a file name and a text."""
        company, filed = self.filing.company, f"{self.filing.filed:%Y%m%d}"
        head = _HEADER.format(
            accession=f"{company.cik:010}-{filed[2:4]}-000001", form=self.form, filed=filed,
            period=f"{self.filing.period:%Y%m%d}", count=self.count or len(documents),
            name=company.name.upper(), cik=company.cik, industry=f"[{company.industry.code}]",
            state=company.state[1], year_end="1231",
        )  # fmt: skip
        parts = [
            _DOCUMENT.format(type=kind, sequence=n, file=file, text=text)
            for n, (kind, file, text) in enumerate(documents, start=1)
        ]
        return f"{head}{''.join(parts)}</SEC-DOCUMENT>\n"

    def contents(self) -> list[Block]:
        """The table of contents: labels, titles and pages, with links where there may be any."""
        rows: list[tuple[str, ...]] = []
        page = 3
        for n, entry in enumerate(self.entries):
            row = [f"{entry.word} {entry.number}.", entry.title]
            page += 1 + sum(len(b.text) for b in entry.blocks) // self.page
            parts = [b.text for b in self._part(entry)]
            if self.plain or self.columns == 2:
                rows += [(part, "") for part in parts]
                row = [" ".join(row)]
            else:
                rows += [("", part, "") for part in parts]
            if not self.plain:
                links = zip(self._targets(n), row, strict=False)
                row = [f'<a href="#{to}">{_escaped(text)}</a>' for to, text in links]
            rows.append((*row, str(page)))
        rows.append(("SIGNATURES", str(page)))
        if self.columns == 6:  # two columns of three
            half = (len(rows) + 1) // 2
            pairs = itertools.zip_longest(rows[:half], rows[half:], fillvalue=())
            rows = [one + other for one, other in pairs]
        made = (
            [Block("raw", '<a name="toc"></a>' + self.table(rows))]
            if not self.plain
            else [
                Block("contents", rows=(row,)) if row[1] else Block("centered", row[0])
                for row in rows
            ]
        )
        return [Block("centered", "TABLE OF CONTENTS"), *made]

    def _targets(self, n: int) -> tuple[str, str]:
        if self.links == [0, 0]:
            return (f"item_{n - n % 2}",) * 2
        one, two = (f"item_{n + k}" if k >= 0 else f"i{n:08x}_7" for k in self.links or (0, 0))
        return one, two

    def _part(self, entry: Entry) -> list[Block]:
        """The line of a part that stands before the entry, if it begins one."""
        small = self.form == "10-KSB"
        starts = {"1": "I", "5": "II", "9" if small else "10": "III"}
        part = starts.get(entry.number.split(" ")[0].strip("."))
        if entry.title.startswith("Exhibit") and not small:
            part = "IV"
        return [Block("centered", f"PART {part}")] if part else []

    def _titled(self, entry: Entry) -> str:
        """The markup of an entry's heading."""
        case = str.upper if self.capitals else str
        title = case(entry.title)
        words, cut = title.split(), len(title.split(" ")[0]) // 2
        number = int(re.sub(r"\D.*", "", entry.number))
        return self.heading.format(
            w=case(entry.word), n=entry.number.replace(" and ", case(" and ")), t=title,
            r="X" * (number // 10) + _ONES[number % 10], a=title[:cut],
            b=title[cut:], wide=re.sub(" ", lambda _: " " * self.rng.randint(1, 3), title),
            lines="\n".join(" ".join(words[i : i + 3]) for i in range(0, len(words), 3)),
        )  # fmt: skip

    def _printed(self, block: Block) -> Iterable[str]:
        """What a block prints."""
        if block.kind == "raw":
            return itertools.chain.from_iterable(block.rows)
        if block.kind != "table":
            return [block.text]
        rows = ["\t".join(row) for row in self._signed(block)]
        return ["\tYears ended", *rows] if self.plain else rows

    def _signed(self, block: Block) -> list[tuple[str, ...]]:
        """The rows of a table of figures; in HTML, those of the first year are dollars."""
        mark = "" if self.plain else "$"
        return [
            (row[0], *(mark * (n == 1) + cell for cell in row[1:]))
            for n, row in enumerate(block.rows)
        ]

    def _laid(self, blocks: Sequence[Block]) -> str:
        out, page, used = [], 1, 0
        turn = str(self.look.get("page", ""))
        if not any('name="toc"' in b.text for b in blocks):
            turn = turn.split("\n")[0]  # no contents, no links back to them
        for block in blocks:
            if used > self.page or block.kind == "page":
                name = self.filing.company.name
                foot = self.foot.format(p=page, c=name, y=self.year - 1)
                if not self.plain:
                    foot = turn.format(foot)
                elif "<PAGE>" not in foot:
                    foot = f"\n{foot:^78}".rstrip() + "\n" + "<PAGE>\n" * (not self.untagged)
                out.append(foot)
                page, used = page + 1, 0
            used += 80 + (len(block.text) or 60 * len(block.rows))
            out.append(self._block(block))
        body = "\n".join(out)
        whole = str(self.look.get("whole", "{body}"))
        return whole.replace("{hidden}", _hidden(self.filing)).replace("{body}", body).lstrip()

    def _block(self, block: Block) -> str:
        kind, text = block.kind, block.text
        if kind in ("raw", "page"):
            return f"{text}\n"
        if self.plain:
            if kind == "heading" and "  " in text:
                return "\n".join(textwrap.wrap(text, 75, break_on_hyphens=False)) + "\n"
            return _plain(self.filing, [block], [1])
        if kind == "heading":
            own = text.lower().startswith(("<table", "<p", "<div"))
            whole = text if own else self.look["heading"].format(text)
            return f'<a name="{block.rows[0][0]}"></a>{whole}'
        if kind == "table":  # the signs in cells of their own, as filing agents do it
            return self.table(
                [row[0], *(p for c in row[1:] for p in ("", *re.split(r"(^[($]|\)$)", c)))]
                for row in self._signed(block)
            )
        text = f"<i>{_escaped(text)}</i>" if kind == "subheading" else _escaped(text)
        return str(self.look.get(kind, self.look["heading"])).format(text)
