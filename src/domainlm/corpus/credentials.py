"""Secrets in text: private keys, tokens with their makers' prefixes, and passwords by their names.

The rules are called where a sign of them is (`recognizers.py`) and give spans in characters.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator

Span = tuple[int, int]

_KEY = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_KEY_BODY = re.compile(r"(?:\s{0,8}[A-Za-z0-9+/=]{32,80}(?![^\s\\]))*")
_TOKEN = re.compile(
    r"(?<![\w\]-])(?:A[KS]IA[A-Z0-9]{16}|gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_\w{22,255}"
    r"|glpat-[\w-]{20,64}|xox[abeoprs]-[\w-]{10,250}|[rs]k_(?:live|test)_[A-Za-z0-9]{10,250}"
    r"|whsec_[A-Za-z0-9]{20,250}|AIza[\w-]{35}|sk-[\w-]{20,250}|hf_[A-Za-z0-9]{30,64}"
    r"|npm_[A-Za-z0-9]{36}|SG\.[\w-]{16,32}\.[\w-]{32,64}"
    r"|eyJ[\w-]{8,2000}\.eyJ[\w-]{8,8000}\.[\w-]{8,2000})(?![\w-]|\[[A-Z])",
    re.ASCII,
)
_NAME = re.compile(
    r"(?:(?<![a-z ])(?:pass|pwd)|pass(?:word|wd|phrase)|secret|token|credentials?"
    r"|(?:api|access|secret|private|auth|account|signing|encryption|shared)[ _-]?key)"
    r"(?:[ ](?:is|was))?(?:[\"']\]?)?[ \t]{0,3}$",
    re.IGNORECASE,
)
ENDINGS = (b"ass", b"ord", b"pwd", b"swd", b"ase", b"ret", b"ken", b"ial", b"als", b"key", b" is",
           b"was")  # of the names, three bytes each  # fmt: skip
_VALUE = re.compile(
    r"[=>]?[ \t]{0,4}(?:Bearer |Basic )?(?:\"([^\"\s\[\]]{6,250}+)\"|'([^'\s\[\]]{6,250}+)'"
    r"|([^\s\"'`,;<>(){}\[\]&|]{6,250}+))(?![(\[])"
)
_NO_SECRET = re.compile(
    r"[$%{<*.@\[]|#\{|x{3}|y?our|enter|example|change|none|null|true|false|os\.|process|self|config"
    r"|settings|env|https?:|/",
    re.IGNORECASE,
)
_LOGIN = re.compile(r"://[^\s/:@\"'<>\[\]]{0,64}:([^\s/@\"'<>\[\]]{3,128})@")
_TOLD = re.compile(r"assword( is| was|:)? [\"'“]?([^\s\"'”,;<>()\[\]]{6,64}+)(?!\[)")


def keys(text: str, at: int) -> Iterator[Span]:
    """The block of a private key (RFC 7468, OpenPGP) that begins at `at`, or what is left of it."""
    if m := _KEY.match(text, at):
        end = text.find("-----END", m.end(), m.end() + 16_384)
        stop = text.find("-----", end + 8, end + 80) if end > 0 else -1
        body = _KEY_BODY.match(text, m.end())
        yield at, stop + 5 if stop > 0 else body.end() if body else m.end()


def tokens(text: str, at: int, end: int) -> Iterator[Span]:
    """The tokens between two blanks: of AWS, GitHub, GitLab, Slack, Stripe, Google, OpenAI ..."""
    for m in _TOKEN.finditer(text, at, end):
        if any(c.isdigit() for c in m[0]):
            yield m.span()


def assigned(text: str, at: int) -> Iterator[Span]:
    """What `=` or `:` gives to a name such as `password`, or to the user of a URL."""
    if text.startswith("//", at + 1):
        if (m := _LOGIN.match(text, at)) and not _NO_SECRET.match(m[1]):
            yield m.span(1)
        return
    name = _NAME.search(text[max(0, at - 32) : at])
    m = _VALUE.match(text, at + 1) if name else None
    if not name or not m or _NO_SECRET.match(m[m.lastindex or 0]):
        return
    value = m[m.lastindex or 0].rstrip(".")
    chosen = re.search("pass|pwd", name[0].lower())  # by a person
    digits = sum(c.isdigit() for c in value)
    if not chosen and (digits == 0 or (digits == 1 and re.search("[._-]", value))):
        return  # a name in a program, such as TOKEN_1
    if _bits(value) >= (12 if chosen else 30):
        start = m.start(m.lastindex or 0)
        yield start, start + len(value)


def told(text: str, at: int) -> Iterator[Span]:
    """What a sentence says that a password is."""
    if m := _TOLD.match(text, at):
        value = m[2].rstrip(".")
        kinds = [any(map(is_one, value)) for is_one in (str.isdigit, str.isupper, str.islower)]
        if kinds[0] and sum(kinds) > (1 if m[1] else 2) and _bits(value) >= 12:
            yield m.start(2), m.start(2) + len(value)


def _bits(value: str) -> float:
    """Shannon's entropy of a value's characters in bits; 0 for words and for names in programs."""
    marks = [c for c in value if not c.isalpha() and c not in ".-_/:'"]
    return sum(-n * math.log2(n / len(value)) for n in Counter(value).values()) if marks else 0
