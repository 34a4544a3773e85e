"""Where a piece of a text lies in the bytes it was extracted from.

Extraction takes out markup and moves white space; what is left keeps its order, and nothing comes
twice. So text and source are compared without white space and markup, and a piece is found by
its surroundings, as far as the source has the same: where these stand as often in the source as in
the text, the n-th there is the n-th here.
"""

import bisect
import dataclasses
import functools
import html
import json
import re
import unicodedata

import numpy as np
import numpy.typing as npt

WIDEST, NEAREST = 200, 24  # characters on a side that are looked at; that tell a place, at least
REACH = (*range(64), *(2**n for n in range(6, 12)))  # between a piece and the neighbours tried
PLACES = 100_000  # of the same surroundings, at most

_MARKUP = re.compile(
    r"\r\n?|<!--.*?-->|<(script|style)\b.*?</\1\s*>|</?[a-zA-Z][^>]*>|<[!?][^>]*>"
    r"|&(?:#\d+|#[xX][0-9a-fA-F]+|[a-zA-Z]\w*);?",
    re.DOTALL | re.IGNORECASE,
)
_LINE_END = re.compile(r"\r\n?")
_MARKED = re.compile(r"<(?:html|body|p|div|table|font|tr|br|page|s|c|document|type)\b", re.I)
_ESCAPE = re.compile(r"\\u[dD][89abAB]\w\w\\u[dD][c-fC-F]\w\w|\\u\w{4}|\\.")
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_ENCODINGS = (
    "utf-8", "cp1252", "shift_jis", "euc_jp", "euc_kr", "gb18030", "big5", "koi8_r", "cp1251",
    "cp1250", "iso8859_2",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Characters:
    """`text` and the bytes it is made of, shape (characters + 1,) each.

    Character n is bytes `begins[n]` up to, not including, `ends[n + 1]`. The last of `begins` is
    the number of all bytes, and the first of `ends` is 0.
    """

    text: str
    begins: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]


def locate(text: str, start: int, end: int, data: bytes) -> tuple[int, int, bool]:
    """Bytes of `data` that characters `start` to `end` of `text` come from.

    The third value is True where these bytes are the piece, and nothing else but markup and white
    space. Else it is somewhere in them: between the nearest neighbours found, or in all of `data`.
    """
    kept, places = _squeezed(text)
    source = _source(kept, data)
    if source is None:
        return 0, len(data), False
    there, where = _squeezed(source.text)
    i, j = (int(n) for n in np.searchsorted(places, (start, end)))
    # White space is found with the characters beside it.
    low, high = (i, j) if i < j else (max(i - 1, 0), j + 1)
    found = low if kept == there else _place(kept, there, low, high, "<>")
    # Where a hidden copy stands beside it, what is before and what is behind tell two places.
    if found is not None and (kept == there or found == _place(kept, there, low, high, "><")):
        found += i - low

        def edge(at: int, number: int, place: int) -> tuple[int, int]:
            """Bytes of a piece that begins, or ends, at `at`, before the kept `number`."""
            low, high = _gap(places, number, len(text))
            first, last = _gap(where, place, len(source.text))
            if text[low:high] == source.text[first:last]:
                return int(source.begins[first + at - low]), int(source.ends[first + at - low])
            # White space was changed, or is markup: all between two characters is one.
            begin = source.begins[last] if at == high else source.ends[first]
            return int(begin), int(source.ends[first] if at == low else source.begins[last])

        return edge(start, i, found)[0], edge(end, j, found + j - i)[1], True
    before = (_place(kept, there, i - d, i - d, "<") for d in REACH if d < i)
    behind = (_place(kept, there, j + d, j + d, ">") for d in REACH)
    first = next((int(source.ends[where[n - 1] + 1]) for n in before if n), 0)
    last = next((int(source.begins[where[n]]) for n in behind if n is not None), len(data))
    return (first, last, False) if first <= last else (0, len(data), False)


def _gap(places: npt.NDArray[np.int64], number: int, size: int) -> tuple[int, int]:
    """Where what is blank before a kept character begins and ends."""
    low = int(places[number - 1]) + 1 if number else 0
    return low, int(places[number]) if number < len(places) else size


def decode(data: bytes, encoding: str) -> Characters | None:
    """Bytes as characters with their places; None where they are not in `encoding`."""
    marks = (b"\xef\xbb\xbf",) if encoding == "utf-8" else (b"\xff\xfe", b"\xfe\xff")
    skipped = next((len(m) for m in marks if data.startswith(m)), 0)
    loose = "replace" if encoding == "cp1252" else "strict"  # five bytes there are no letter
    try:
        text = data[skipped:].decode(encoding, loose)
        codes = np.frombuffer(text.encode("utf-32-le"), "<u4")
        if len(codes) == len(data) - skipped:
            sizes = np.ones(len(codes), np.int64)
        else:
            letters, which = np.unique(codes, return_inverse=True)
            sizes = np.array([len(chr(c).encode(encoding)) for c in letters], np.int64)[which]
    except UnicodeError:
        return None
    ends = np.concatenate([[0], skipped + np.cumsum(sizes)])
    begins = np.append(ends[1:] - sizes, len(data))
    return Characters(text, begins, ends) if ends[-1] in (0, len(data)) else None


def unescaped(source: Characters, pattern: re.Pattern[str]) -> Characters:
    """The characters that are meant: tags gone, entities, escapes and line ends undone."""
    pieces: list[str] = []
    begins, ends = source.begins.copy(), source.ends.copy()
    kept = np.ones(len(begins), bool)
    place = 0
    for match in pattern.finditer(source.text):
        first, last = match.span()
        escape = match.group()
        if escape[0] == "<":
            letter = ""
        elif escape[0] == "\\":
            letter = json.loads(f'"{escape}"')
        else:
            letter = html.unescape(escape) if escape[0] == "&" else "\n"
        pieces += (source.text[place:first], letter)
        place = last
        after = first + len(letter)  # it is never longer than what stands for it
        kept[after:last] = False
        if letter:
            begins[first:after] = begins[first]
            ends[first + 1 : after + 1] = ends[last]
    text = "".join([*pieces, source.text[place:]])
    return Characters(text, begins[kept], np.append(ends[0], ends[1:][kept[:-1]]))


def json_string(line: bytes, value: str) -> Characters | None:
    """The one string of a JSON line that is `value`, as characters at their places in the line."""
    found = []
    for match in _STRING.finditer(line):
        string = decode(match.group()[1:-1], "utf-8")
        string = unescaped(string, _ESCAPE) if string else None
        if string and string.text == value:
            first = match.start() + 1
            found.append(Characters(value, string.begins + first, string.ends + first))
    return found[0] if len(found) == 1 else None


def _source(kept: str, data: bytes) -> Characters | None:
    """`data` as characters, in the encoding and with the markup under which `kept` is found."""
    probes = [kept[n : n + 12] for n in np.linspace(0, max(len(kept) - 12, 0), 9).astype(int)]
    best, most = None, 0
    wide = data[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in data[:1000]
    for encoding in ("utf-16-le", "utf-16-be") if wide else _ENCODINGS:
        source = decode(data, encoding)
        if source is None:
            continue
        is_marked = _MARKED.search(source.text) and _squeezed(source.text)[0] != kept
        source = unescaped(source, _MARKUP if is_marked else _LINE_END)
        there = _squeezed(source.text)[0]
        hits = sum(probe in there for probe in probes)
        if hits > most:
            best, most = source, hits
        if hits > len(probes) // 2:
            break
    return best


@functools.cache
def _blank() -> npt.NDArray[np.bool_]:
    """By code point, what comparisons leave out.

    White space, controls, soft hyphens, signs of no width, and the bar that extraction puts
    between the cells of a table.
    """
    left_out = {"|", "\xad", "\u2060", "\ufeff", *map(chr, range(0x200B, 0x2010))}
    letters = map(chr, range(0x10000))
    return np.array([c in left_out or c.isspace() or unicodedata.category(c) == "Cc"
                     for c in letters])  # fmt: skip


def _squeezed(text: str) -> tuple[str, npt.NDArray[np.int64]]:
    """The text without what is blank, and where its characters are."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
    places = np.flatnonzero(~_blank()[np.minimum(codes, 0xFFFF)])
    return codes[places].tobytes().decode("utf-32-le", "surrogatepass"), places


def _place(kept: str, there: str, i: int, j: int, sides: str) -> int | None:
    """Where `kept[i:j]` is in `there`, told by what is before ("<") and behind (">") it.

    On the first of `sides` as much as is there with it, then on the other as much as is with both.
    """
    first, last = i, j
    for side in sides:
        room = min(WIDEST, first if side == "<" else len(kept) - last)
        step = (1, 0) if side == "<" else (0, 1)
        more = _more(kept, there, (first, last), step, room)
        first, last = first - more * step[0], last + more * step[1]
    needle = kept[first:last]
    if len(needle) < min(NEAREST, len(kept)):
        return None
    found, ours = _places(there, needle), _places(kept, needle)
    same = 0 < len(found) == len(ours) < PLACES
    return found[ours.index(first)] + i - first if same else None


def _more(kept: str, there: str, span: tuple[int, int], step: tuple[int, int], room: int) -> int:
    """How many steps a span of `kept` can grow and still be found in `there`."""

    def is_gone(n: int) -> bool:
        return kept[span[0] - n * step[0] : span[1] + n * step[1]] not in there

    if is_gone(min(room, 1)):
        return 0
    return bisect.bisect_left(range(1, room + 1), True, key=is_gone)


def _places(text: str, needle: str) -> list[int]:
    """Where `needle` begins in `text`, also where one overlaps the next."""
    found: list[int] = []
    place = text.find(needle) if needle else -1
    while place >= 0 and len(found) < PLACES:
        found.append(place)
        place = text.find(needle, place + 1)
    return found
