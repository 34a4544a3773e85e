"""What `benchmarks/fuzz.py` found, and what was looked for by hand: each read in time, and tidy."""

import time
from collections.abc import Callable

import fuzz
import pytest

BODY = b"<html><body>"
# A mode byte (tables, form and period), and the bytes that once broke a rule of the text.
SMALL = {
    "reference without its end": b"\x12<br >&#127<td >",
    "references that make another": b"\0" + BODY + b"a&#&#1;1;b &#x&#x7f;81 c&#144;d",
    "carriage return in <pre>": b"\0" + BODY + b"<pre>a&#13;b</pre>",
    "link at the end": b"\x0e<body>><td ><a href=#>",
    "links between line breaks": b"\x13<pre>T\r<a href=#><sequence>\n<TD>\xe2<td >",
    "links between letter and accent": b"\0" + BODY + b"<p>e<a href=#x>&#x301;</a><p id=x>b",
    "signs in the place of numbers": b"\0" + b"Page # of the report\n\n" * 9,
    "dotless i for a page": b"\t\xc4\xb1<td><div>",
}
MB = 1_000_000


def linked(n: int) -> bytes:
    rows = (b"<p><a href=#a%d>Item 7. Management</a> 1<p id=a%d>Item 8. Business" % (i, i)
            for i in range(n // 60))  # fmt: skip
    return BODY + b"".join(rows)


def styled(n: int) -> bytes:
    rules = b"".join(b".a%d{display:none}" % i for i in range(5000))
    return BODY + b"<style>%s</style>" % rules + b"<p class=b>x" * (n // 12)


def times(piece: bytes, before: bytes = BODY, after: bytes = b"") -> Callable[[int], bytes]:
    return lambda size: before + piece * (size // len(piece)) + after


def nested(tag: bytes) -> Callable[[int], bytes]:
    start, end = b"<%s>" % tag, b"</%s>" % tag
    return lambda n: BODY + (k := n // 2 // len(end)) * start + b"a" + k * end


# Inputs that once took more than their share of seconds, or of memory, the more the larger.
LARGE = {
    "lists in lists": times(b"<ul><li>a"),
    "quotations in quotations": times(b"<blockquote>x"),
    "divisions in divisions": nested(b"div"),
    "lists in lists that end": nested(b"ul"),
    "cells of no table": times(b'no<td colspan="-1">\r', BODY + b"<pre>"),
    "ends of nothing": times(b"exhibit no</tr>"),
    "links to items": linked,
    "exhibits": times(b"exhibit ", b"Item 15. Exhibits\n\n"),
    "reports on": times(b"report of ", b"Item 9B. Other information\n\n"),
    "spaces": times(b" ", b"Item 16. Form 10-K summary\n\nx", b"x"),
    "empty lines": times(b"\n \n", b"Item 1. Business\n", b"x"),
    "brackets": times(b"(", b"Item 15. Exhibits\n\n"),
    "bars before a digit": times(b"| ", b"Item 15. Exhibits\n\n", b"1"),
    "pages that are one number": times(b"1", b"Item 15. Exhibits\n\npages ", b"x"),
    "spaces after a page": times(b" ", b"<PAGE>", b"xyz&"),
    "PDFs without an end": times(
        b"<PDF>", b"<DOCUMENT>\n<TYPE>10-K\n<TEXT>\na", b"</TEXT></DOCUMENT>"
    ),
    "signatures in a line": times(b"SIGNATURE ", b"Item 15. Exhibits\n\n"),
    "one long paragraph": times(b"word " * 11 + b"a\n", b""),
    "one long number": times(b"1", BODY + b"<table><tr><td>a<td>", b"y</table>"),
    "styles that hide": styled,
    "tags in tags": times(b'<div id<fn>="i">a</title><fn><s>', BODY + b"<p>"),
    "formatting in each paragraph": lambda n: (
        BODY + b"<p>" + b"".join(b"<font a=%d>" % i for i in range(400)) + b"<p>x" * (n // 4)
    ),
    "attributes": lambda n: BODY + b"<p" + b"".join(b" a%d=b" % i for i in range(n // 9)) + b">x",
    "dots": times(b". ", b"Item 1. "),
}


@pytest.mark.parametrize("data", SMALL.values(), ids=SMALL)
def test_small(data: bytes) -> None:
    fuzz.reader()(data)


@pytest.mark.slow
@pytest.mark.parametrize("of_size", LARGE.values(), ids=LARGE)
def test_large(of_size: Callable[[int], bytes]) -> None:
    data = b"\1" + of_size(MB)  # without numeric tables
    start = time.process_time()
    fuzz.reader()(data)
    assert time.process_time() - start < 5 * len(data) / MB
