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

    Byte order marks decide; then UTF-8, else cp1252. Mojibake is repaired line by line where its
    signs are seen. Raises `Unreadable`: `empty`, `binary` or `undecodable`.
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
    if data.startswith(_MAGIC) or b"\0" in data:
        raise Unreadable("binary")
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
    if clean[:first].isascii() and stray * 2 > high:
        return clean.decode("latin-1").encode()
    # Most of the file is UTF-8 with a few stray bytes: keep it UTF-8 and map those bytes.
    return _ESCAPED.sub(_stray, text).encode()


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
