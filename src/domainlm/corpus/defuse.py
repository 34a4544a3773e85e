"""HTML made safe for a parser: what loses text in one, or takes quadratic time, is taken out.

Filings are written by software of thirty years, and anything may be sent to a reader of filings.
"""

import re
from collections import Counter

import numpy as np

_UPPER = re.compile("<[A-Z]")
_NAME = re.compile("</?[A-Z][^\\s<>/]*")
# In XHTML these may close themselves; an HTML parser would swallow all that follows.
_SELF_CLOSED = re.compile(
    r"<(script|style|title|textarea|iframe|noscript|template|select|object|ix:header|ix:hidden)"
    r"(\s[^<>]*)?/>"
)
HEAD = 100_000  # characters in which the head and the XBRL header begin
_XBRL_HEADER = re.compile(r"<div[^<>]*>\s*<ix:header[^<>]*>")
_REFERENCE = re.compile(
    r"&#(?:0*(?:[1-8]|1[124-9]|2\d|3[01]|127|129|14[134]|157)(?!\d)|"
    r"x0*(?:[1-8bcef]|1[0-9a-f]|7f|8[1df]|9[0d])(?![0-9a-f]));?",
    re.I,
)
_LONG = 20_000  # characters of a tag
_DEPTH = 512  # of elements; browsers stop there too
_FORMATTING_DEPTH = 4  # of the formatting elements, which a parser opens again in each paragraph
_REOPENED = 200_000  # elements that may so come about
_TAG = re.compile(r"<(/?)([a-z][^\s<>/]*)[^>]*(?:>|\Z)")
_CELLS = frozenset(["td", "th", "tr"])
_INLINE = frozenset(
    "a b big code em font i nobr s small span strike strong sub sup tt u".split()  # noqa: SIM905
)
_FORMATTING = _INLINE - {"a", "span", "sub", "sup"}
# Elements that have no end, or that the next of their kind ends.
_UNNESTED = _CELLS | {"br", "col", "hr", "img", "input", "li", "link", "meta", "p"}
# Whether the first two letters of a tag are of one that nests; the commonest that do not, do not.
_NESTS = np.zeros(1 << 16, np.int8)
_NESTS[ord("a") << 8 : (ord("z") + 1) << 8] = 1
for _two in ("br", "co", "hr", "im", "in", "li", "me", "p>", "p ", "p\n", "td", "th", "tr"):
    _NESTS[ord(_two[0]) << 8 | ord(_two[1])] = 0
_CDATA = re.compile(r"<!\[CDATA\[|\]\]>")


def defused(html: str) -> str:
    """`html` in lower-case tags, without what makes a standard HTML parser lose text or time.

    The block of hidden facts of inline XBRL is cut out before it is parsed: a tenth of a filing,
    and two fifths of the time to parse it.
    """
    if "\t" in html or "\f" in html:
        html = html.replace("\t", "    ").replace("\f", "\n")
    if _UPPER.search(html):
        html = _NAME.sub(lambda m: m.group().lower(), html)
    if _SELF_CLOSED.search(html, 0, HEAD):
        head = html.find("<", HEAD) if len(html) > HEAD else len(html)
        html = _SELF_CLOSED.sub(r"<\1\2></\1>", html[:head]) + html[head:]
    if header := _XBRL_HEADER.search(html, 0, HEAD):
        end = html.find("</ix:header>", header.end())
        if end >= 0 and "-->" not in html[header.start() : end]:
            html = html[: header.end()] + html[end:]
    if "&#" in html:
        # Controls would pass for marks of ours; of what is left no other one may come about.
        html = _REFERENCE.sub("\u200b", html)
    if "<![CDATA[" in html:
        html = _CDATA.sub("", html)
    # Thousands of unclosed elements: each one costs a walk over all the others. Browsers stop at
    # a depth of 512; here inline ones are left out and a <div> becomes a <p>, which closes itself.
    without_end, tangled = _shape(html)
    if without_end > 2000 and without_end - html.count("/>") > 2000:
        for tag in ("font", "b", "i", "u", "a", "span", "div"):
            if html.count(f"<{tag}") - html.count(f"</{tag}") > 2000:
                unclosed = re.compile(rf"</?{tag}(?:\s[^<>]*)?>")
                html = unclosed.sub("<p>" if tag == "div" else "", html)
        _, tangled = _shape(html)
    return _untangled(html) if tangled else html


def _shape(html: str) -> tuple[int, bool]:
    """How many more elements begin than end; and whether, as far as bytes can tell, hundreds are
    inside each other, or end without a beginning, or are cells outside of tables.
    """
    data = np.frombuffer(html.encode("utf-8", "replace") + b"\0\0\0\0", np.uint8)
    at = np.flatnonzero(data == ord("<"))
    far = bool(np.max(np.diff(at, append=len(data)), initial=0) > _LONG)
    if len(at) < _DEPTH:
        return 0, far
    end = data[at + 1] == ord("/")
    at = at + end + 1
    names = data[at].astype(np.uint16) << 8 | data[at + 1]
    nests = np.where(end, -_NESTS[names], _NESTS[names])
    depth = np.cumsum(nests, dtype=np.int64)
    rise = np.max(depth - np.minimum.accumulate(depth))
    alone = np.max(np.abs(np.bincount(names, nests)))  # starts without ends, or the reverse
    outside = html[: html.find("<table")] + html[html.rfind("</table") :]
    cells = outside.count("<td") + outside.count("<tr")
    return len(at) - 2 * int(end.sum()), far or bool(
        max(rise, alone, cells) > _DEPTH or rise * html.count("<p") > _REOPENED
    )


def _untangled(html: str) -> str:
    """`html` with elements nested no deeper than `_DEPTH`, and no ends without a start.

    To lexbor each block costs a walk up its ancestors, each end of none a copy of the text before.
    """
    opened: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    depth = formatting = 0

    def kept(match: re.Match[str]) -> str:
        nonlocal depth, formatting
        end, tag = match[1], match[2]
        whole = match[0]
        if len(whole) > _LONG:  # lexbor compares each attribute with all before it
            whole = f"<{end}{tag}>"
        if tag in _UNNESTED:
            return whole if opened["table"] or tag not in _CELLS else "<p>"
        if end and not opened[tag]:
            return ""
        step = -1 if end else 1
        opened[tag] += step
        full = depth >= _DEPTH or (tag in _FORMATTING and formatting >= _FORMATTING_DEPTH)
        if left_out[tag] if end else full:
            left_out[tag] += step
            return "" if tag in _INLINE or ":" in tag else "<p>"
        depth += step
        formatting += step * (tag in _FORMATTING)
        return whole

    return _TAG.sub(kept, html)
