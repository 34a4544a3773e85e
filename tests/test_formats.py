import io
import unicodedata
import zipfile
from email.message import EmailMessage
from pathlib import Path

import docx
import pytest
from docx.oxml import parse_xml
from hypothesis import given, settings
from hypothesis import strategies as st
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.pdfgen import canvas

from domainlm.corpus import formats, pdf
from domainlm.corpus.extract import Unreadable, decode, tidy
from domainlm.corpus.formats import Content
from test_containers import read, zipped


def content(name: str, data: bytes, row: bool = False) -> Content:
    return formats.read(name, data, "keep", row)


def refusal(name: str, data: bytes) -> str:
    with pytest.raises(Unreadable) as caught:
        content(name, data)
    return str(caught.value)


# --- encodings ------------------------------------------------------------------------------

SAMPLES = {
    "ru": "Компания производит клапаны. Спрос вырос, как и в прошлом году.\nПродажи: 5 %.",
    "uk": "Компанія виробляє клапани. Попит на клапани зріс цього року, як і минулого.",
    "ja": "当社はバルブを製造しています。今年はバルブの需要が増えた。\n売上は三パーセント増えた。",
    "zh": "本公司生产阀门。今年阀门需求有所增加，与去年一样。\n销售收入比上年增长百分之三。",
    "tw": "本公司生產閥門。今年閥門需求有所增加，與去年一樣。\n銷售收入比上年增長百分之三。",
    "ko": "회사는 밸브를 생산합니다. 올해 밸브 수요가 증가했습니다.\n매출은 전년보다 늘었습니다.",
    "el": "Η εταιρεία κατασκευάζει βαλβίδες. Η ζήτηση αυξήθηκε φέτος, όπως και πέρυσι.",
    "he": "החברה מייצרת שסתומים. הביקוש לשסתומים עלה השנה, כמו בשנה שעברה.",
}


@pytest.mark.parametrize(
    ("language", "encoding"),
    [
        ("ru", "koi8_r"), ("ru", "cp1251"), ("ru", "iso8859_5"), ("ru", "cp866"),
        ("uk", "cp1251"), ("ja", "shift_jis"), ("ja", "euc_jp"), ("zh", "gb18030"),
        ("tw", "big5"), ("ko", "cp949"), ("el", "cp1253"), ("he", "cp1255"),
        ("ru", "utf-16"), ("zh", "utf-16"), ("zh", "utf-8"), ("ja", "utf-8-sig"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("times", [1, 900])
def test_other_scripts_are_told_by_their_letters(language: str, encoding: str, times: int) -> None:
    text = "\n".join([SAMPLES[language]] * times)  # the long one is more than the sample looked at
    assert decode(text.encode(encoding)) == text
    page = f"<html><body class='x'><p>{SAMPLES[language]}</p></body></html>"
    assert decode(page.encode(encoding)) == page


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf16_without_a_mark(encoding: str) -> None:
    text = "Plain words – and a café.\nSecond line."
    assert decode(text.encode(encoding)) == text
    with pytest.raises(Unreadable, match="binary"):
        decode(text.encode(encoding) + b"x")  # half a character
    with pytest.raises(Unreadable, match="binary"):
        decode(bytes(range(256)) * 20)


@pytest.mark.parametrize(
    "text",
    [
        "Société générale, créée à l’été ; données « très » élevées.",
        "Übergröße für Äußerungen",
        "—— ——\u00a0\u00a0\u00a0\u00a0\u00a0\u00a0 • Item 1 •",
        "£££ 5",
    ],
)
def test_western_text_stays_cp1252(text: str) -> None:
    assert decode(text.encode("cp1252")) == text


# --- PDF ------------------------------------------------------------------------------------


def a_pdf(*pages: list[str], password: str = "") -> bytes:
    buffer = io.BytesIO()
    secret = StandardEncryption(password, canPrint=0) if password else None
    page = canvas.Canvas(buffer, encrypt=secret, invariant=1)
    for lines in pages:
        for n, line in enumerate(lines):
            page.drawString(72, 760 - 14 * n, line)
        page.showPage()
    page.save()
    return buffer.getvalue()


def raw_pdf(objects: list[bytes], trailer: bytes = b"") -> bytes:
    """A PDF of the given objects, the first of which is its root."""
    out = b"%PDF-1.5\n"
    places = []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n" % number + body + b"\nendobj\n"
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    trailer = trailer.replace(b"START", b"%d" % start)
    return out + b"trailer\n<</Size %d/Root 1 0 R%s>>\nstartxref\n%d\n%%%%EOF" % (
        len(objects) + 1, trailer, start,
    )  # fmt: skip


def stream(body: bytes, about: bytes = b"") -> bytes:
    return b"<<%s/Length %d>>stream\n%s\nendstream" % (about, len(body), body)


FONT = b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"
OBJECTS = [
    b"<</Type/Catalog/Pages 2 0 R>>",
    b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
    b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents 4 0 R"
    b"/Resources<</Font<</F 5 0 R>>>>>>",
    stream(b"BT /F 12 Tf 72 700 Td (Hello wor-) Tj 0 -14 Td (ld) Tj ET"),
    FONT,
]


def test_text_of_a_pdf_by_page() -> None:
    long = "A line of words that goes on to the right edge of the page and then"
    data = a_pdf(["Title", long, "goes on, as it should.", "New line."], ["Page two."])
    text, sections, facts, dropped = content("a.PDF", data)
    assert text == f"Title\n{long} goes on, as it should.\nNew line.\n\nPage two."
    assert (sections, facts, dropped) == ((), {}, 0)
    assert content("a.pdf", raw_pdf(OBJECTS))[0] == "Hello world"


def test_lines_are_joined_only_where_it_is_safe() -> None:
    full = "words " * 10
    assert pdf.joined(f"{full}and\r\nmore") == f"{full}and more"
    for kept in (
        f"{full}end.\nnext",
        f"{full}\nNext",
        f"short\n{full}",
        f"{full}\n12",
        f"{full}:\na",
    ):
        assert pdf.joined(kept) == "\n".join(line.strip() for line in kept.split("\n"))


def test_pdfs_that_hold_no_text() -> None:
    assert refusal("a.pdf", a_pdf([], [])) == "no_text"
    assert refusal("a.pdf", a_pdf(["secret"], password="pw")) == "encrypted"
    whole = a_pdf(["words"] * 40)
    assert refusal("a.pdf", b"%PDF-1.4 nothing") == "damaged"
    assert refusal("a.pdf", b"") == "damaged"
    assert refusal("a.pdf", b"plain text") == "damaged"
    assert refusal("a.pdf", whole[:200]) == "damaged"


def test_pdfs_that_point_at_themselves() -> None:
    tree = list(OBJECTS)
    tree[1] = b"<</Type/Pages/Kids[2 0 R 2 0 R 3 0 R]/Count 2000000000>>"
    assert content("a.pdf", raw_pdf(tree))[0] == "Hello world"
    tree[1] = b"<</Type/Pages/Kids[2 0 R]/Count 3>>"
    assert refusal("a.pdf", raw_pdf(tree)) == "damaged"
    assert content("a.pdf", raw_pdf(OBJECTS, b"/Prev START"))[0] == "Hello world"


def test_a_pdf_that_never_ends_and_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forms that draw forms: 8 to the 12th drawings, in a few hundred bytes."""
    form = b"/Type/XObject/Subtype/Form/BBox[0 0 9 9]/Resources<<%s>>"
    deep = [*OBJECTS[:2], OBJECTS[2].replace(b"/Font<</F 5", b"/XObject<</X 5"), stream(b"/X Do")]
    for n in range(12):
        deep.append(stream(b"/X Do " * 8, form % (b"/XObject<</X %d 0 R>>" % (6 + n))))
    deep.append(stream(b"BT /F 9 Tf (x) Tj ET", form % (b"/Font<</F %d 0 R>>" % (len(deep) + 2))))
    deep.append(FONT)
    monkeypatch.setattr(pdf, "SECONDS", 1)
    pdf._helpers.clear()
    try:
        assert refusal("a.pdf", raw_pdf(deep)) == "damaged"
        assert content("a.pdf", raw_pdf(OBJECTS))[0] == "Hello world"
    finally:
        pdf._helpers.clear()


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=20))
def test_noise_in_a_pdf_or_a_docx_is_a_reason(changes: list[tuple[int, int]]) -> None:
    for name, whole in (("a.pdf", raw_pdf(OBJECTS)), ("a.docx", DOCX)):
        data = bytearray(whole)
        for place, byte in changes:
            data[place % len(data)] = byte
        try:
            text = content(name, bytes(data))[0]
        except Unreadable as reason:
            assert str(reason) in {"damaged", "encrypted", "no_text", "empty", "too_large"}
        else:
            assert text == tidy(text) and unicodedata.is_normalized("NFC", text)
            text.encode()


# --- DOCX -----------------------------------------------------------------------------------

NAMESPACE = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'


def a_docx(title: str = "") -> bytes:
    document = docx.Document()
    document.core_properties.title = title
    document.add_paragraph("Before any heading.")
    document.add_heading("A  manual", 1)
    document.add_paragraph("Valves are made.\tBy us.")
    table = document.add_table(2, 2)
    for n, cell in enumerate(c for row in table.rows for c in row.cells):
        cell.text = f"cell {n}"
    document.add_heading("Costs", 2)
    document.add_heading("Details", 3)
    run = document.add_paragraph("Kept ")._p
    run.append(parse_xml(f"<w:ins {NAMESPACE}><w:r><w:t>inserted</w:t></w:r></w:ins>"))
    run.append(parse_xml(f"<w:del {NAMESPACE}><w:r><w:delText>gone</w:delText></w:r></w:del>"))
    run.append(parse_xml(f"<w:moveFrom {NAMESPACE}><w:r><w:t>moved</w:t></w:r></w:moveFrom>"))
    box = f"<w:sdt {NAMESPACE}><w:sdtContent><w:p><w:r><w:t>In a control.</w:t></w:r></w:p>"
    document.element.body.insert(1, parse_xml(box + "</w:sdtContent></w:sdt>"))
    buffer = io.BytesIO()
    document.save(buffer)
    return buffer.getvalue()


DOCX = a_docx()


def test_text_and_headings_of_a_docx() -> None:
    text, sections, facts, dropped = content("a.docx", a_docx(" The \n title "))
    assert text == (
        "Before any heading.\n\nIn a control.\n\nA  manual\n\nValves are made.\tBy us.\n\n"
        "cell 0 | cell 1\ncell 2 | cell 3\n\nCosts\n\nDetails\n\nKept inserted"
    )
    assert [s.label for s in sections] == ["A manual", "Costs"]
    assert text[sections[0].start :].startswith("A  manual")
    assert text[sections[1].start : sections[1].end].startswith("Costs\n\nDetails")
    assert (facts, dropped) == ({"title": "The title"}, 0)
    assert content("a.docx", DOCX)[2] == {}


def test_docx_of_a_stranger() -> None:
    assert refusal("a.docx", b"PK\x03\x04") == "damaged"
    assert refusal("a.docx", zipped({"a.txt": "no document"})) == "damaged"
    assert refusal("a.docx", b"\xd0\xcf\x11\xe0 an old DOC") == "binary"
    encrypted = b"\xd0\xcf\x11\xe0" + "EncryptedPackage".encode("utf-16-le")
    assert refusal("a.docx", encrypted) == "encrypted"
    with zipfile.ZipFile(io.BytesIO(DOCX)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    lol = b"".join(b'<!ENTITY l%d "%s">' % (n, b"&l%d;" % (n - 1) * 10) for n in range(1, 10))
    files["word/document.xml"] = (
        b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY l0 "lol">%s'
        b'<!ENTITY file SYSTEM "file:///etc/passwd">]>'
        b'<w:document %s><w:body><w:p><w:r><w:t>&l9;&file;</w:t></w:r></w:p></w:body></w:document>'
    ) % (lol, NAMESPACE.encode())  # fmt: skip
    assert refusal("a.docx", zipped(files)) in {"damaged", "empty"}
    files["word/media/bomb"] = b"\0" * (formats.DOCX_BYTES + 1)
    assert refusal("a.docx", zipped(files)) == "too_large"


# --- e-mail ---------------------------------------------------------------------------------


def a_mail(body: str = "Dear all,\n\nvalves – café.\n") -> EmailMessage:
    message = EmailMessage()
    message["Subject"] = "Valves: prices für 2020"
    message["From"] = "ann@example.org"
    message["Date"] = "Wed, 05 Feb 2020 23:30:00 -0800"
    message.set_content(body)
    return message


def test_text_and_facts_of_an_email() -> None:
    message = a_mail()
    message.add_alternative("<p>Other <b>words</b></p>", subtype="html")
    message.add_attachment(b"\0" * 3000, maintype="application", subtype="zip", filename="a.zip")
    text, _, facts, dropped = content("a.eml", bytes(message))
    assert text == "Dear all,\n\nvalves – café."
    assert facts["title"] == "Valves: prices für 2020" and str(facts["date"]) == "2020-02-05"
    assert 4000 < dropped < 4300  # Base64 of the attachment, and the HTML
    page = EmailMessage()
    page.set_content("<h1>Head</h1><p>Other <b>words</b></p>", subtype="html")
    text, sections, facts, dropped = content("a.eml", bytes(page))
    assert (text, facts, dropped) == ("Head\n\nOther words", {}, 0)
    assert [s.label for s in sections] == ["Head"]


@pytest.mark.slow
def test_emails_of_a_stranger() -> None:
    head = b"Subject: \xe9t\xe9\nDate: yesterday\nContent-Type: text/plain; charset=%s\n\n"
    for charset in (b"nonsense", b"utf-8", b"rot13", b"us-ascii"):
        text, _, facts, _ = content("a.eml", head % charset + b"caf\xe9 \x93x\x94 and more")
        assert text == "café “x” and more" and "date" not in facts
        facts.get("title", "").encode()
    assert refusal("a.eml", b"Content-Type: image/png\n\nx") == "no_text"
    assert refusal("a.eml", b"Subject: x\n\n") == "empty"
    assert content("a.eml", b"no header at all")[0] == "no header at all"
    deep = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n) for n in range(3000)
    )
    assert refusal("a.eml", deep) in {"damaged", "no_text", "empty"}


@given(st.binary(max_size=200), st.binary(max_size=60))
def test_any_email_has_text_or_a_reason(head: bytes, body: bytes) -> None:
    data = b"Subject: " + head + b"\nContent-Type: " + head + b"\n\n" + body
    try:
        text, _, facts, _ = content("a.eml", data)
    except Unreadable:
        return
    text.encode()
    facts.get("title", "").encode()


# --- rows and files alike -------------------------------------------------------------------


@given(st.text(max_size=60), st.sampled_from(["a.txt", "b.md", "c.py", "noname"]))
def test_a_row_and_a_file_of_the_same_text_are_the_same(text: str, name: str) -> None:
    def result(row: bool) -> Content | str:
        try:
            return content(name, text.encode("utf-8", "replace"), row)
        except Unreadable as reason:
            return str(reason)

    assert result(True) == result(False)


def test_a_row_named_like_a_page_is_text() -> None:
    text = "a <b> tag & more"
    assert content("https://example.org/x.html", text.encode(), row=True)[0] == text
    assert content("https://example.org/x.pdf", text.encode(), row=True)[0] == text


def test_formats_through_the_reading_task(tmp_path: Path) -> None:
    files = {
        "who/a.pdf": a_pdf(["Words of a page."]),
        "who/b.docx": a_docx("A title"),
        "who/c.eml": bytes(a_mail()),
        "who/d.html": b"<p>page</p>",
        "who/e.pdf": a_pdf([]),
    }
    (tmp_path / "x.zip").write_bytes(zipped(files))
    found, account = read(tmp_path, path=str(tmp_path / "x.zip"))
    assert {d.uri: d.title for d in found} == {
        "who/a.pdf": "who/a.pdf",
        "who/b.docx": "A title",
        "who/c.eml": "Valves: prices für 2020",
        "who/d.html": "who/d.html",
    }
    assert [str(d.date) for d in found] == ["None", "None", "2020-02-05", "None"]
    assert account["skipped"] == {"no_text": {"files": 1, "bytes": len(files["who/e.pdf"])}}
    found, _ = read(tmp_path, path=str(tmp_path / "x.zip"), date=r"(\d{4})-x")
    assert {d.date for d in found} == {None}  # the recipe's own rule says where dates are
