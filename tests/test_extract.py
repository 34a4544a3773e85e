import time
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domainlm.corpus.edgar.plain import plain_to_text
from domainlm.corpus.extract import Unreadable, decode, tidy
from domainlm.corpus.html import html_to_text


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"plain\r\ntext\rhere", "plain\ntext\nhere"),
        (b"\xef\xbb\xbfmark", "mark"),
        ("wide é".encode("utf-16"), "wide é"),
        ("wide é".encode("utf-16-be"), None),
        (b"the company\x92s \x93plan\x94 \x96 caf\xe9", "the company’s “plan” – café"),
        ("the company\x92s".encode(), "the company’s"),
        ("it’s".encode().decode("cp1252").encode(), "it’s"),
        ("cafe\u0301".encode(), "café"),
        (b"bell\x07 gone", "bell gone"),
        ("naïve – tést ".encode() * 30 + b"\x93x\x94", "naïve – tést " * 30 + "“x”"),
    ],
)
def test_decode(data: bytes, text: str | None) -> None:
    if text is None:
        with pytest.raises(Unreadable, match="binary"):
            decode(data)
    else:
        assert decode(data) == text


@pytest.mark.parametrize(
    ("data", "slug"),
    [
        (b"", "empty"),
        (b" \r\n\t ", "empty"),
        (b"\xef\xbb\xbf \n", "empty"),
        ("\u00a0\u2003".encode(), "empty"),
        (b"%PDF-1.4 text", "binary"),
        (b"a\0b", "binary"),
        (b"text\x01\x02\x03\x04" * 9, "binary"),
        (b"\xff\xfea", "undecodable"),
    ],
)
def test_decode_refuses(data: bytes, slug: str) -> None:
    with pytest.raises(Unreadable) as refusal:
        decode(data)
    assert refusal.value.args == (slug,)


@given(st.binary(max_size=300))
def test_decode_gives_nfc_or_refuses(data: bytes) -> None:
    try:
        text = decode(data)
    except Unreadable:
        return
    assert unicodedata.is_normalized("NFC", text)
    assert text.strip() and "\r" not in text and "\0" not in text


def test_tidy() -> None:
    assert tidy("\n\na  \n\n\n\nb\t\nc\n") == "a\n\nb\nc"


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>One</p><p>Two</p>", "One\n\nTwo"),
        ("<b>RI</b>SK <i>FAC</i>TORS", "RISK FACTORS"),
        ("<span>P</span><span>art</span> <font>I</font>", "Part I"),
        ("a<br>b<br/><br/>c", "a\nb\n\nc"),
        ("<table><tr><td>Washington</td><td>98052</td></tr></table>", "Washington | 98052"),
        ("<table><tr><th>Year<td></td><td>&nbsp;</td><td>2023</table>", "Year | 2023"),
        (
            "<table><tr><td>Sales<td>$<td>1,234<td></td><td>(<td>5<td>)<td>7<td>%</tr>"
            "<tr><td>$<td>9<td>$ (<td>3<td>)%</table>",
            "Sales | $1,234 | (5) | 7%\n$9 | $ (3)%",
        ),
        (
            "<table><tr><td><p>Net</p></td><td><div>5</div></td></tr></table>after",
            "Net | 5\n\nafter",
        ),
        ("<table><tr><td>&bull;</td><td>point</td></tr></table>", "• point"),
        ("<ul><li>one</li><li>two</li></ul>", "one\ntwo"),
        ("x<script>y</script><style>z</style><!-- c -->w", "xw"),
        ("<title>t</title><p>body", "body"),
        ('<p>a</p><div style="display:none"><p>b</p></div>c', "a\n\nc"),
        ('<p STYLE="color:red; DISPLAY : None !important">b</p>c<i hidden>d</i>', "c"),
        ('<span style="visibility:hidden">b</span>c', "c"),
        (
            "<ix:header><ix:hidden><ix:nonNumeric>secret</ix:nonNumeric></ix:hidden></ix:header>"
            "<p>net of <ix:nonFraction>12</ix:nonFraction> million</p>",
            "net of 12 million",
        ),
        ('<div>the <div style="display:inline">quick</div> fox</div>', "the quick fox"),
        ("a\u200bb&nbsp;&#8201;c&shy;d", "ab cd"),
        ("it&#146;s &lt;here&gt; &amp; now", "it’s <here> & now"),
        ('<?xml version="1.0"?><html><head><title/><script src="x"/></head>seen</html>', "seen"),
        ("<p>if a < b and b > c</p>", "if a < b and b > c"),
        (
            "<table><tr><td>out<table><tr><td>in</td><td>1</td></tr></table></td></tr></table>",
            "out\n\nin | 1",
        ),
        ("<pre>Sales     5      6\nCosts     7      8</pre>", "Sales  5  6\nCosts  7  8"),
        ("", ""),
    ],
)
def test_html(html: str, text: str) -> None:
    assert html_to_text(html) == text


def test_html_layout_table_is_text() -> None:
    long = "A sentence of some length that fills a cell. " * 5
    html = f"<table><tr><td>Note</td><td><p>{long}</p><p>{long}</p></td></tr></table>"
    assert html_to_text(html).split("\n\n") == ["Note", long.strip(), long.strip()]
    assert html_to_text(html, "drop") == html_to_text(html)


def test_html_drops_numeric_tables_only() -> None:
    numbers = "<table><tr><td>Sales<td>$<td>5<td>6</tr><tr><td>Costs<td>7<td>(8<td>)</tr></table>"
    index = "<table><tr><td>Item 1.<td>Business<td>4</tr></table>"
    html = f"<p>before</p>{numbers}<p>between</p>{index}<p>after</p>"
    assert html_to_text(html, "drop") == "before\n\nbetween\n\nItem 1. | Business | 4\n\nafter"
    assert "Sales | $5 | 6\nCosts | 7 | (8)" in html_to_text(html)


@pytest.mark.parametrize(
    "html",
    [
        "<table><tr><td>x" * 26 + "</td></tr></table>" * 26,
        '<td colspan="376967340">x</td>' * 1000,
        "<table><tr><td colspan=376967340 rowspan=99999999>x</table>",
        "<div>x" * 40_000,
        "<table><tr><td>x" * 20_000,
        "".join(f"<font size={i}>x<p>" for i in range(8_000)),
        "<p>x" * 50_000,
        "<" * 100_000,
        "<a " * 50_000,
    ],
    ids=lambda html: html[:16],
)
def test_html_of_bad_shape_is_quick(html: str) -> None:
    start = time.process_time()
    text = html_to_text(html)
    assert "x" in text or "x" not in html
    assert time.process_time() - start < 4  # each took minutes somewhere; here under a second


_PIECES = (
    "<p> </p> <b> <td> </td> <tr> <table> </table> <pre> </pre> <br> <div> </div> x y & "
    "&nbsp; &#1; <!-- --> <ix:header> </ix:header> <script> $ ( ) % \x01 \x07 é <![CDATA[ "
    "<li> <style/> <frameset> <template> <select>"
)
_HTML = st.lists(
    st.sampled_from(_PIECES.split()) | st.text(max_size=5),
    max_size=40,
).map("".join)


@given(_HTML, st.sampled_from(["keep", "drop"]))
@settings(max_examples=300)
def test_html_never_raises(html: str, tables: str) -> None:
    text = html_to_text(html, tables)
    assert "\n\n\n" not in text and text == text.strip()
    assert not any(c in text for c in "\x01\x02\x03\x04\x05\x06\x07")


@given(
    st.lists(st.text("abcXYZ19", min_size=1, max_size=4), min_size=1, max_size=6),
    st.lists(st.sampled_from(["b", "i", "span", "font", "a", "u", "ix:nonnumeric"]), max_size=6),
)
def test_inline_tags_neither_glue_nor_split(parts: list[str], tags: list[str]) -> None:
    html = parts[0]
    for part, tag in zip(parts[1:], [*tags, *["b"] * 6], strict=False):
        html += f"<{tag}>{part}</{tag}>"
    assert html_to_text(f"<p>{html}</p>") == "".join(parts)
    spaced = html_to_text(f"<p>{html.replace('<', ' <')}</p>")
    assert spaced.split() == parts[:1] + parts[1:]


def test_plain_prose_is_joined_and_rows_are_kept() -> None:
    text = """
                              ITEM 1. BUSINESS

     The  company makes  pumps and valves for the  process industry,  and has
done so since 1921.  Its customers are refiners, mills and the makers of long-
lived equipment.
     A second paragraph begins here without a blank line between the two of
them.

<TABLE>
<CAPTION>
                          1995        1994
<S>                    <C>         <C>
Sales ...............    $ 100       $  90
                       -------     -------
Costs                       80          70
</TABLE>
"""
    assert plain_to_text(text).split("\n\n") == [
        "ITEM 1. BUSINESS",
        "The company makes pumps and valves for the process industry, and has done so since 1921. "
        "Its customers are refiners, mills and the makers of long-lived equipment.\n"
        "A second paragraph begins here without a blank line between the two of them.",
        "1995  1994",
        "Sales ...  $ 100  $  90\nCosts  80  70",
    ]
    assert "Sales" not in plain_to_text(text, "drop")


def test_plain_page_breaks_leave_no_trace() -> None:
    line = "words that go on and on until the margin of the page is reached at last,"
    text = f"{line}\nand the sentence goes\n\n                 12\n<PAGE>\n\non after it.\n\n"
    text += "End.\n\n                   -13-\n\n<PAGE> 14\nNew page.\n"
    assert plain_to_text(text).split("\n\n") == [
        f"{line} and the sentence goes on after it.",
        "End.",
        "New page.",
    ]


@given(st.text(max_size=200) | st.text("ab .-\n\f\t<>12", max_size=200))
def test_plain_never_raises_nor_loses_words(text: str) -> None:
    plain_to_text(text)
    words = "".join(c if c.isalpha() else " " for c in text).split()
    if "<" not in text and not any(c in text for c in "\f\xad"):
        kept = plain_to_text(" ".join(w for w in words if w.isascii()))
        assert "".join(kept.split()) == "".join(w for w in words if w.isascii())
