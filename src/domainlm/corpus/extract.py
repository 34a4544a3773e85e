"""Bytes to text, for any corpus: encodings, mojibake, line ends, control characters."""

import re
import unicodedata

import ftfy

# Tab, line feed, form feed and carriage return stay; the rest of C0 and DEL goes.
_HIGH = bytes(range(128, 256))
_CONTROL = bytes(b for b in (*range(32), 127) if b not in b"\t\n\f\r")
_MAGIC = (b"%PDF", b"PK\x03\x04", b"\x1f\x8b", b"\xd0\xcf\x11\xe0", b"\xff\xd8\xff", b"\x89PNG")
# C1 controls are cp1252 punctuation in disguise; the five that cp1252 leaves free are dropped.
_CONTROLS = re.compile("[\x80-\x9f]")
_ESCAPED = re.compile("[\udc80-\udcff]")
_C1_SIGN = re.compile(rb"\xc2[\x80-\x9f]")
# Of scripts whose letters are all above ASCII; what charset_normalizer chooses from.
_ENCODINGS = [
    "cp932", "euc_jp", "gb18030", "big5", "cp949", "koi8_r", "koi8_u", "cp1251", "cp866",
    "cp1253", "cp1255", "cp1256", "iso8859_5", "iso8859_7",
]  # fmt: skip
_SAMPLE = 65536  # bytes that an encoding is told by
_TAGS = re.compile(rb"<[^<>]*>")
_LETTERS = bytes(b for b in range(128) if chr(b).isalpha())
_SIGNS = b"\x85\x95\x96\x97\xa0\xb7"  # cp1252: ellipsis, bullet, dashes, space, dot
# UTF-8 read as cp1252: a lead byte (Â Ã â) before a continuation byte. The sign is those letters
# in UTF-8; looking for it costs a tenth of looking for the whole.
_MOJIBAKE_SIGN = re.compile(rb"\xc3(?:[\x82\x83]|\xa2\xe2)")
_MOJIBAKE = re.compile(
    "[ÂÃ][\x80-\xbf€\u201aƒ„…†‡\u02c6‰Š\u2039Œ\u2018\u2019“”•\u2013—\u02dc™š\u203aœ]|â€|â„¢"
)


class Unreadable(Exception):
    """The bytes hold no text; the only argument is a slug: `empty`, `binary`, `truncated` ..."""


def decode(data: bytes) -> str:
    """Text of `data` in NFC, with line feeds as line ends and no control characters.

    Byte order marks decide; then UTF-8, UTF-16 of mostly Western text, what charset_normalizer
    finds where the letters are of another script, else cp1252. Mojibake is repaired line by line
    where its signs are seen. Raises `Unreadable`: `empty`, `binary` or `undecodable`.
    """
    data = _as_utf8(data)
    if not data.strip():
        raise Unreadable("empty")
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if data.isascii():
        return data.decode()
    c1, mojibake = _C1_SIGN.search(data), _MOJIBAKE_SIGN.search(data)
    text = data.decode()
    if mojibake:  # before the controls go: one may be the last byte of a sequence
        lines = text.split("\n")
        text = "\n".join(ftfy.fix_encoding(x) if _MOJIBAKE.search(x) else x for x in lines)
    if c1 or mojibake:
        text = _CONTROLS.sub(_c1, text)
    text = unicodedata.normalize("NFC", text)
    if not text.strip():
        raise Unreadable("empty")
    return text


def _as_utf8(data: bytes) -> bytes:
    """Valid UTF-8 without control characters."""
    for mark, encoding in ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")):
        if data.startswith(mark):
            try:
                wide = data[2:].decode(encoding)
            except UnicodeDecodeError as error:
                raise Unreadable("undecodable") from error
            return _as_utf8(wide.encode("utf-8", "replace")) if wide else b""
    if data.startswith(_MAGIC):
        raise Unreadable("binary")
    if b"\0" in data:
        return _as_utf8(_unmarked_wide(data))
    data = data.removeprefix(b"\xef\xbb\xbf")
    clean = data.translate(None, _CONTROL)
    if len(data) - len(clean) > 2 + 0.03 * len(data):
        raise Unreadable("binary")
    if clean.isascii():
        return clean
    try:
        clean.decode()
        return clean
    except UnicodeDecodeError as error:
        first = error.start
    text = clean.decode("utf-8", "surrogateescape")
    data = text.encode("utf-8", "ignore")  # without the bytes that are no UTF-8
    stray = len(clean) - len(data)
    high = len(data) - len(data.translate(None, _HIGH)) + stray
    if stray * 2 > high and (script := _other_script(clean, first)):
        return clean.decode(script, "replace").encode()
    if clean[:first].isascii() and stray * 2 > high:
        return clean.decode("latin-1").encode()
    # Most of the file is UTF-8 with a few stray bytes: keep it UTF-8 and map those bytes.
    return _ESCAPED.sub(_stray, text).encode()


def _unmarked_wide(data: bytes) -> bytes:
    """UTF-8 of UTF-16 without a mark, told by every second byte being zero, or `Unreadable`."""
    half = min(len(data), _SAMPLE) // 2
    zeros = [data[n : 2 * half : 2].count(0) for n in (0, 1)]
    if half < 16 or min(zeros) > 0 or max(zeros) < 0.7 * half:
        raise Unreadable("binary")
    try:
        text = data.decode("utf-16-le" if zeros[1] else "utf-16-be")
    except UnicodeDecodeError as error:
        raise Unreadable("binary") from error
    return text.replace("\0", "").encode()


def _other_script(data: bytes, first: int) -> str | None:
    """The encoding of text mostly in letters above ASCII; None where they are the exception.

    `first` is where the first byte lies that is no UTF-8.
    """
    start = data.rfind(b"\n", 0, first) + 1
    sample = data[start : start + _SAMPLE]
    if start + _SAMPLE < len(data):  # half a character at the end would rule out its encoding
        sample = sample[: sample.rfind(b"\n") + 1] or data[start:]
    plain = _TAGS.sub(b"", sample).translate(None, _SIGNS)
    high = len(plain) - len(plain.translate(None, _HIGH))
    letters = len(plain) - len(plain.translate(None, _LETTERS))
    if high < 0.4 * (high + letters) or len(set(plain).intersection(_HIGH)) < 6:
        return None  # Western, or a rule of signs
    import charset_normalizer

    found = charset_normalizer.from_bytes(
        sample, cp_isolation=_ENCODINGS, preemptive_behaviour=False, enable_fallback=False
    ).best()
    return found.encoding if found else None


def _c1(match: re.Match[str]) -> str:
    return bytes([ord(match.group())]).decode("cp1252", "ignore")


def _stray(match: re.Match[str]) -> str:
    return bytes([ord(match.group()) - 0xDC00]).decode("cp1252", "ignore")


def tidy(text: str) -> str:
    """NFC, no space at line ends, at most one blank line in a row, none at either end."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    text = "\n".join(map(str.rstrip, text.split("\n")))
    return re.sub(r"\n{3,}", "\n\n", text).strip()
