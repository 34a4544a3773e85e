"""Sections of any corpus but filings: the headings of Markdown and HTML, else the folder.

A text is cut at every heading of the two highest levels that it has (a title and its chapters,
say): each section runs from its heading to the next, or to the end. What stands before the first
heading is in no section.
"""

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import PurePosixPath

from domainlm.corpus.documents import Section
from domainlm.corpus.extract import tidy
from domainlm.corpus.html import html_to_text

LEVELS = 2
LABEL = 80  # characters of a heading's text at most

Heading = tuple[int, int, str]  # level, character at which it begins, text

# Marks around the words of an h1, h2, h3; `decode` left no such characters in the page.
_MARKS, _END = "\x14\x15\x16", "\x17"
_TAG = re.compile(r"(<h([123])(?:\s[^<>]*)?>)|(?=</h[123]\s*>)", re.IGNORECASE)
_MARKED_SPACE = re.compile(f"[{_MARKS}][\\s{_MARKS}]*")
_NO_WORDS = re.compile(f"[{_MARKS}]{_END}")

_FRONT_MATTER = re.compile(r"---\n[\w-]+:.*?\n(?:---|\.\.\.)(?:\n|$)", re.DOTALL)
_FENCE = re.compile(r" {0,3}(?:[-*+] +|\d+[.)] +)*(`{3,}(?=[^`]*$)|~{3,})")
_HASHES = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*))?")
_UNDERLINE = re.compile(r" {0,3}(?:={2,}|-{2,})")
_NO_TITLE = re.compile(r" {4}|\t| {0,3}(?:[>|]|[-*+] |\d+[.)] )")  # code, quote, table, list


def markdown_sections(text: str) -> tuple[Section, ...]:
    """Sections of tidy Markdown: `#` headings, and lines alone that are underlined by == or --.

    What looks like a heading in fenced or indented code, or in the front matter, is none.
    """
    found: list[Heading] = []
    front = _FRONT_MATTER.match(text)
    place = front.end() if front else 0
    fence, in_paragraph = "", False
    above: tuple[int, str] | None = None  # the line above, where it may be a title
    for line in text[place:].split("\n"):
        words = line.strip()
        title, above = above, None
        if fence:
            if words.startswith(fence) and not words.strip(fence[0]):
                fence = ""
        elif match := _FENCE.match(line):
            fence, in_paragraph = match[1], False
        elif match := _HASHES.fullmatch(line):
            found.append((len(match[1]), place + match.start(1), _unclosed(match[2] or "")))
            in_paragraph = False
        elif title and _UNDERLINE.fullmatch(line):
            found.append((1 if "=" in line else 2, *title))
            in_paragraph = False
        else:
            if words and not in_paragraph and not _NO_TITLE.match(line):
                above = place + line.index(words), words
            in_paragraph = bool(words)
        place += len(line) + 1
    return cut(text, found)


def read_html(html: str, tables: str) -> tuple[str, tuple[Section, ...]]:
    """Tidy text of a page (`html_to_text`), and its sections by h1, h2 and h3.

    Marks go through the extraction with the headings, so that what is not shown has none.
    """
    text = html_to_text(_TAG.sub(_with_marks, html), tables)
    *pieces, last = text.split(_END)
    text = "".join(_closed(piece) for piece in pieces) + last
    text = _NO_WORDS.sub("", _MARKED_SPACE.sub(_to_words, text)).rstrip(_MARKS)
    first, *rest = re.split(f"([{_MARKS}])", tidy(text))
    found: list[Heading] = []
    pieces = [first.replace(_END, "")]
    place = len(pieces[0])
    for mark, piece in zip(rest[::2], rest[1::2], strict=True):
        words, *_ = re.split(f"{_END}|\n\n", piece, maxsplit=1)
        found.append((_MARKS.index(mark), place, words))
        pieces.append(piece.replace(_END, ""))
        place += len(pieces[-1])
    text = "".join(pieces)
    return text, cut(text, found)


def folder_sections(path: str, group: str, text: str) -> tuple[Section, ...]:
    """The whole text as one section with the name of the folder that the file is in.

    `group` is the recipe's `source.group`. None where the folder, or a part of its name, is the
    group, and for Python's source.
    """
    parent = PurePosixPath(path).parent
    end = len(parent.as_posix())
    if not parent.name or group == "folder" or path.endswith(".py"):
        return ()
    who = re.search(group, path) if "(" in group else None
    if who and who.start(1) < end and who.end(1) > end - len(parent.name):
        return ()
    return (Section(parent.name, 0, len(text)),)


def cut(text: str, headings: Sequence[Heading]) -> tuple[Section, ...]:
    """Sections at the headings of the two highest levels; a heading without text is none."""
    named = [(n, start, " ".join(words.split())) for n, start, words in headings if words.strip()]
    kept = sorted({level for level, *_ in named})[:LEVELS]
    cuts = [(start, label) for level, start, label in named if level in kept]
    return tuple(
        Section(label[:LABEL].rstrip(), start, end)
        for (start, label), (end, _) in pairwise([*cuts, (len(text), "")])
    )


def _unclosed(words: str) -> str:
    """`words` of a heading without the hashes that may close it."""
    bare = words.rstrip("#")
    return bare if not bare or bare.endswith((" ", "\t")) else words


def _with_marks(tag: re.Match[str]) -> str:
    return tag[0] + _MARKS[int(tag[2]) - 1] if tag[1] else _END


def _closed(piece: str) -> str:
    """`piece` with its end mark behind the words of the heading; without one if it has none."""
    if not any(mark in piece for mark in _MARKS):
        return piece
    words = piece.rstrip()
    return words + _END + piece[len(words) :]


def _to_words(match: re.Match[str]) -> str:
    """The line ends, and then the mark, at the words that follow; of several the last counts."""
    mark = next(c for c in reversed(match[0]) if c in _MARKS)
    return "\n" * match[0].count("\n") + mark
