"""What personal data and secrets look like in text: a cheap sign of each kind, then exact rules.

A text is read as bytes, one a character, and once more with every digit as 0 and every capital as
A. Signs (`@`, `000-0000`) are searched there at memory speed, and the rules run only around them:
time is linear in the text. Where a shape proves nothing (`212 555 0123` in a table), words before
it must. Precision counts as much as recall.

No candidate touches a placeholder and no word counts over one, so that a text masked once has
nothing more to find.
"""

import contextlib
import ipaddress
import re
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from domainlm.corpus.credentials import ENDINGS, assigned, keys, tokens, told

KINDS = ("email", "phone", "ssn", "card", "iban", "ip", "secret")
_Span = tuple[int, int]
_Rule = Callable[[str, int], Iterator[_Span]]  # of a text and where the sign is

_FOLD = bytes.maketrans(b"123456789BCDEFGHIJKLMNOPQRSTUVWXYZ", b"0" * 9 + b"A" * 25)


def _re(pattern: str, flags: int = 0) -> re.Pattern[str]:
    r"""Compile, with `\d` an ASCII digit, `\~` a dash, `\_` a blank (both inside of classes), `\<`
    and `\>` what may not stand before and after a number: a word, a dollar, a placeholder.
    """
    for short, long in (
        (r"\<", r"(?<![\w$\]])"), (r"\>", r"(?!\w|\[[A-Z])"), (r"\d", "[0-9]"),
        (r"\~", "\u2010-\u2013-"), (r"\_", " \u00a0\u2007\u2009\u202f"),
    ):  # fmt: skip
        pattern = pattern.replace(short, long)
    return re.compile(pattern, flags)


def _words(text: str, start: int) -> str:
    """The text before `start` in which words may say what a number is."""
    return text[max(0, start - 64) : start].rpartition("]")[2]


def _digits(value: str) -> str:
    return "".join(c for c in value if "0" <= c <= "9")


# E-mail: the dot-atom of RFC 5322 with the marks in use, and names of RFC 1035. What ends like the
# name of a file (logo@2x.png) is none, nor is the user of a URL or of scp.
_LOCAL = re.compile(r"[\w.+%&'-]{0,66}")  # of the reversed text
_DOMAIN = _re(
    r"(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}([^\W0-9_]{2,24}|xn--[A-Za-z0-9-]{2,59})"
    r"\>(?![@#$%^*+=~\\]|:[/~])"
)
_NO_START = tuple("@]})!?#$%^*&+~`\\")  # signs of uuencoded text, too
_FILES = frozenset(("png", "jpg", "jpeg", "gif", "svg", "webp", "ico", "bmp", "css", "js", "ts",
                    "htm", "html", "php", "json", "xml", "txt", "pdf", "exe", "dll"))  # fmt: skip


def _email(text: str, at: int) -> Iterator[_Span]:
    domain = _DOMAIN.match(text, at + 1)
    if not domain or domain[1].lower() in _FILES:
        return
    m = _LOCAL.match(text[max(0, at - 66) : at][::-1])
    raw = m[0][::-1] if m else ""
    local = raw.lstrip(".+%&'-")
    if not 1 <= len(local) <= 64 or not local[-1].isalnum() or ".." in local or local == "git":
        return
    before = text[max(0, at - len(raw) - 64) : at - len(raw)]
    if not before.endswith(_NO_START) and not re.search(r"://[^\s/]{0,60}$", before):
        yield at - len(local), domain.end()


# Telephone: the North American plan (area and exchange NXX, neither N11; no area N9X, 37X, 96X),
# E.164 with a plus, and any number that words before it call one.
_UNIT = r"(?:[\_\~./]|[\_]?\(|\)[\_]?)?\d"
_NANP = _re(
    r"\<(?<![0-9\]][\~.,])(?:\+?1[\_\~.]?)?(?:\((\d{3})\)[\_\~]?|(\d{3})[\_\~./])"
    r"(\d{3})[\~.]\d{4}\>(?![\~.]\d)"
)
_E164 = _re(rf"\<(?<!\+)\+[1-9](?:{_UNIT}){{7,24}}\>(?![.,]\d)")
_CALLED = _re(rf"\<(?<!\+)(?<![0-9\])][\_\~./,])\(?\d(?:{_UNIT}){{6,14}}\>(?![.,/\~]\d)")
_CALLS = ("phone", "tel", "fax", "facsimile", "mobile", "cell", "call", "dial", "hotline",
          "toll free")  # fmt: skip
_DAY = re.compile(r"(?:19|20)[0-9]{2}[-./][0-9]{2}[-./][0-9]{2}$")
_CALLING = re.compile(
    rf"\b(?:tele)?(?:{'|'.join(_CALLS)})s?\b"
    r"[^0-9\n]{0,44}?([:.#)]|\b(?:at|on|to|is|or|and|number|no))?[^\w\n]{0,4}$",
    re.IGNORECASE,
)


def _nanp(area: str, exchange: str) -> bool:
    return (
        area[0] > "1" and exchange[0] > "1" and area[1:] != "11" and area[1] != "9"
        and area[:2] not in ("37", "96") and (exchange[1:] != "11" or area[0] == "8")
    )  # fmt: skip


def _phone(text: str, at: int) -> Iterator[_Span]:
    if text[at + 3] not in "0123456789 /":
        for m in _NANP.finditer(text, max(0, at - 12), at + 24):
            alike = m[1] or (text[m.end(2)] == ".") == (text[m.end(3)] == ".")
            if alike and _nanp(m[1] or m[2], m[3]):
                yield m.span()
    words = text[max(0, at - 80) : at].lower()
    if not any(map(words.__contains__, _CALLS)):
        return
    for m in _CALLED.finditer(text, max(0, at - 16), at + 40):
        bare = len(m[0]) == 10 and m[0].isdigit() and _nanp(m[0][:3], m[0][3:6])
        said = _CALLING.search(_words(text, m.start()))
        here = m.start() <= at < m.end() and not _DAY.match(m[0])
        if here and said and (said[1] or bare):
            yield m.span()


def _plus(text: str, at: int) -> Iterator[_Span]:
    m = _E164.match(text, at, at + 72)
    if not m:
        return
    value = m[0]
    while len(digits := _digits(value.replace("(0)", ""))) > 15:  # the next column of a table
        value = re.sub(r"[^0-9]*[0-9]+$", "", value)
    groups = re.findall("[0-9]+", value.replace("(0)", ""))
    if digits[:1] == "1":
        good = len(digits) == 11 and _nanp(digits[1:4], digits[4:7])
    else:  # no country's code begins with 28, 83 or 89; groups of one digit are figures
        good = len(digits) >= 8 and digits[:2] not in ("28", "83", "89")
        good = good and all(len(g) > 1 for g in groups[2:]) and not ("." in value and " " in value)
    if good and (len(groups) > 2 or "." not in value):
        yield at, at + len(value)


# Social Security: area, group and serial as the SSA gives them, without the advertised ones.
_SSN = _re(
    r"\<(?<![0-9\]][\_\~.,/])(?<!\~)(\d{3})([\_\~]?)(?!00)\d{2}\2(?!0000)\d{4}\>(?![\~.,/]\d)"
)
_SSN_SAID = re.compile(
    r"\b(?:ssns?|ss#|social[ -]sec|tax(?:payer)? id)[^0-9]{0,40}$", re.IGNORECASE
)
_OTHER_NUMBER = re.compile(
    r"\b(?:part|item|order|sku|model|invoice|policy|case|claim|docket|serial|catalog|tracking|lot"
    r"|file|account|reference|confirmation|transaction|project|patent|contract|permit|ticket)s?\b"
    r"[^\w]{0,3}(?:(?:no|nos|number|numbers|id|code)\b)?[^\w]{0,3}$",
    re.IGNORECASE,
)
_ADVERTISED = ("078051120", "219099999", "457555462", "123456789", "111111111", "333333333")


def _ssn(text: str, at: int) -> Iterator[_Span]:
    for m in _SSN.finditer(text, max(0, at - 2), at + 20):
        words = _words(text, m.start())
        dashed = m[2] not in ("", " ", "\u00a0") and not _OTHER_NUMBER.search(words)
        if m[1] in ("000", "666") or m[1][0] == "9" or _digits(m[0]) in _ADVERTISED:
            continue
        if dashed or _SSN_SAID.search(words):
            yield m.span()


# Payment cards (ISO/IEC 7812): first four digits, lengths; then whether a shape of 16 digits (15,
# 14) is enough, since so many schemes number other things alike.
_CARD = _re(
    r"\<(?<![0-9\]][\~.,])(?<![0-9A-F\]]{2}[\_\n])\d{4}([\_\~]?)(?:\d{4}\1\d{4}\1\d{1,4}(?:\1\d{1,3})?"
    r"|\d{6}\1\d{4,5})\>(?![\~.,]\d|[\_\n][0-9A-F]{4}\b|[\_]\d{1,3},\d|[*^])"
)
_ISSUERS = (
    (4000, 4999, (16, 13, 19)), (5100, 5599, (16,)), (2221, 2720, (16,)), (3400, 3499, (15,)),
    (3700, 3799, (15,)), (3000, 3059, (14,)), (3600, 3699, (14,)), (3800, 3999, (14,)),
    (6011, 6011, (16, 17, 18, 19)), (6440, 6599, (16, 17, 18, 19)), (3528, 3589, (16, 17, 18, 19)),
    (6200, 6299, (16, 17, 18, 19)), (2200, 2204, (16, 17, 18, 19)),
)  # fmt: skip
_CARD_SAID = re.compile(
    r"\b(?:cards?|visa|mastercard|amex|american express|discover|diners|jcb|unionpay|debit|credit"
    r"|cc|pan)\b",
    re.IGNORECASE,
)


def luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of ISO/IEC 7812-1, annex B."""
    total = sum(map(int, digits[-1::-2]))
    return (total + sum(sum(divmod(2 * int(d), 10)) for d in digits[-2::-2])) % 10 == 0


def _card(text: str, at: int) -> Iterator[_Span]:
    for m in _CARD.finditer(text, max(0, at - 4), at + 40):
        digits = _digits(m[0])
        lengths = [n for low, high, n in _ISSUERS if low <= int(digits[:4]) <= high]
        if not lengths or len(digits) not in lengths[0] or not luhn(digits):
            continue
        words = _words(text, m.start())
        usual = len(digits) == lengths[0][0] and (m[1] or len(digits) > 14)
        if _CARD_SAID.search(words) or (usual and not _OTHER_NUMBER.search(words)):
            yield m.span()


# Bank accounts: ISO 13616, with the lengths of SWIFT's IBAN registry.
_IBANS = (
    "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 "
    "DK18 DO28 EE20 EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 "
    "IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 "
    "MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 "
    "SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30"
)
_IBAN_OF = {
    one[:2]: _re(rf"\<[A-Z]{{2}}\d\d(?:[\_\~]?[A-Z0-9]){{{int(one[2:]) - 4}}}\>")
    for one in _IBANS.split()
}


def mod97(iban: str) -> bool:
    """Whether the check digits of an IBAN without blanks are right (ISO 7064, MOD 97-10)."""
    return int("".join(str(int(c, 36)) for c in iban[4:] + iban[:4])) % 97 == 1


def _iban(text: str, at: int) -> Iterator[_Span]:
    pattern = _IBAN_OF.get(text[at : at + 2])
    m = pattern.match(text, at, at + 80) if pattern else None
    if m and mod97("".join(c for c in m[0] if c.isascii() and c.isalnum())):
        yield m.span()


# Internet addresses. Section numbers and versions look like those of version 4: where all parts are
# small, words must say so. Of version 6, the C++ of a::b and times are no addresses.
_IP4 = _re(
    r"\<(?<![.+])(?<![A-Za-z][\~])(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\>(?!\.\d|-[A-Za-z])"
)
_NO_IP = re.compile(
    r"(?:\b(?:v|ver|version|release|rel|build|firmware|section|sec|sect|exhibit|item|note|article"
    r"|rule|clause|paragraph|para|chapter|appendix|schedule|table|figure|part|oid|patch|driver"
    r"|update|upgrade[d]?|sw|fw)s?[.:]?\s{0,3}|\w[/_]|§\s?)\(?$",
    re.IGNORECASE,
)
_IP_SAID = re.compile(
    r"(?:\b(?:ip|ipv4|inet|addr|address|host|hostname|server|gateway|dns|nameserver|client|peer"
    r"|router|ssh|ping|subnet|remote|proxy|src|dst|listen|bind|from|connect|endpoint)(?:es)?\b"
    r"\W{0,4}(?:(?:is|was|to|at|of|on)\W{1,3})?|//|@)$",
    re.IGNORECASE,
)
_IP_AFTER = re.compile(r":[0-9]{2,5}\b|/[0-9]{1,2}\b| - - ")
_IP6 = re.compile(r"[0-9A-Fa-f:.]{0,46}")
_IP6_AFTER = re.compile(r":?(?:\w|\[[A-Z])")
_IP6_INSIDE = re.compile(r":[0-9A-Fa-f]{0,4}$")


def _ip4(text: str, at: int) -> Iterator[_Span]:
    for m in _IP4.finditer(text, max(0, at - 3), at + 20):
        parts = [int(g) for g in m.groups()]
        if max(parts) > 255 or not 0 < parts[0] < 224 or parts[0] == 127 or parts[3] in (0, 255):
            continue
        if any(g[0] == "0" and len(g) > 1 for g in m.groups()):
            continue
        words = _words(text, m.start())[-28:]
        said = max(parts) > 32 or _IP_AFTER.match(text, m.end()) or _IP_SAID.search(words)
        if said and not _NO_IP.search(words):
            yield m.span()


def _ip6(text: str, at: int) -> Iterator[_Span]:
    before = text[max(0, at - 5) : at]
    if _IP6_INSIDE.search(before):
        return
    start = at - len(before) + len(before.rstrip("0123456789abcdefABCDEF"))
    m = _IP6.match(text, start)
    value = m[0].rstrip(".") if m else ""
    value = value if value.endswith("::") else value.rstrip(":")
    end = start + len(value)
    groups = [g for g in value.split(":") if g]
    if len(groups) < 2 or max(map(len, groups)) < 3 or not re.search("[0-9]", value):
        return
    if re.match(r"[\w\]]", text[max(0, start - 1) : start]) or _IP6_AFTER.match(text, end):
        return
    with contextlib.suppress(ValueError):
        if not ipaddress.IPv6Address(value).is_multicast:
            yield start, end


# Signs: what is rare, found byte by byte; shapes in the text and in the folded text (a literal
# first, which `re` seeks fast); and long words without a blank.
_BETWEEN = (b"", rb"[ \"'\]]", rb"[\"'\]][ \]]")
_NAMED = b"|".join(rb"(?<=(?:%s)%s[:=])" % (b"|".join(ENDINGS), b) for b in _BETWEEN)
_LITERALS: dict[bytes, dict[str, _Rule]] = {
    b"@": {"email": _email}, b"-----BEGIN": {"secret": keys},
    b"assword": {"secret": told},
}  # fmt: skip
_SHAPES: dict[bytes, dict[str, _Rule]] = {
    rb"\+[1-9][-. ()0-9/?]{6}": {"phone": _plus},
    rb":[0-9A-Fa-f]{0,4}:": {"ip": _ip6},
    rb"=(?i:%s)" % _NAMED: {"secret": assigned},
    rb":(?://|(?i:%s))" % _NAMED: {"secret": assigned},
}
_FOLDED: dict[bytes, dict[str, _Rule]] = {
    rb"000(?:[-. ?/]?0000|[- ?]?00[- ?]?0000|0[- ?]?0000)": {
        "phone": _phone, "ssn": _ssn, "card": _card,
    },
    rb"AA00(?=[- ?]?[A0]{4})": {"iban": _iban},
    rb"\.0{1,3}\.0{1,3}\.0": {"ip": _ip4},
}  # fmt: skip


def candidates(text: str, kinds: Sequence[str]) -> Iterator[tuple[str, int, int]]:
    """What of `kinds` stands in `text`: (kind, start, end) in characters, in any order."""
    data = text.encode("ascii", "replace")
    folded = data.translate(_FOLD)
    signs = ((_LITERALS, _each, data), (_SHAPES, _match, data), (_FOLDED, _match, folded))
    for table, places, where in signs:
        for sign, of_kind in table.items():
            if rules := [(kind, rule) for kind, rule in of_kind.items() if kind in kinds]:
                for at in places(sign, where):
                    for kind, rule in rules:
                        for start, end in rule(text, at):
                            yield kind, start, end
    if "secret" in kinds:
        for first, last in _long_words(data):
            if folded.find(b"0", first, last) >= 0:  # no token is without a digit
                for start, end in tokens(text, first, last):
                    yield "secret", start, end


def _long_words(data: bytes) -> Iterator[_Span]:
    """Where 18 or more characters of ASCII stand without a blank, as tokens do."""
    letters = np.frombuffer(data, np.uint8)
    run = (letters > 32) & (letters != 63)  # 63: what is not ASCII, and the question mark
    for step in (1, 2, 4, 8, 2):
        run = run[: max(0, len(run) - step)] & run[step:]
    at = np.flatnonzero(run)
    if len(at):
        cuts = np.flatnonzero(np.diff(at) > 1)
        firsts, lasts = at[np.append(0, cuts + 1)], at[np.append(cuts, -1)] + 18
        yield from zip(firsts.tolist(), lasts.tolist(), strict=True)


def _each(sign: bytes, data: bytes) -> Iterator[int]:
    at = data.find(sign)
    while at >= 0:
        yield at
        at = data.find(sign, at + 1)


def _match(sign: bytes, data: bytes) -> Iterator[int]:
    return (hit.start() for hit in re.finditer(sign, data))
