"""The whole way from the bytes of a filing to clean text and its items."""

import re
import unicodedata

from domainlm.corpus.documents import Section
from domainlm.corpus.edgar.items import find_items
from domainlm.corpus.edgar.submission import Submission, parse
from domainlm.corpus.edgar.tree import Filing
from domainlm.corpus.extract import Unreadable, html_to_text, plain_to_text

# Paragraphs that are page furniture: a page number, a link back to the contents.
_PAGE = re.compile(
    r"(?:[A-Z]{1,2}-)?\d{1,3}|[-\u2013—] ?(?:[A-Z]{1,2}-)?\d{1,3} ?[-\u2013—]|table of contents|"
    r"(?:back|return) to (?:contents|top)|index to financial statements",
    re.I,
)


def read_filing(
    data: bytes, filing: Filing, tables: str
) -> tuple[str, tuple[Section, ...], Submission]:
    """Clean text, items and submission of the filing's bytes; `tables` is `keep` or `drop`.

    Raises `Unreadable` with a slug where there is no text to read.
    """
    submission = parse(data, [filing.form] if filing.form else [])
    if submission.is_html:
        text = html_to_text(submission.body, tables)
    else:
        text = plain_to_text(submission.body, tables)
    # Both give tidy text; entities may have put in letters and accents apart.
    text = unicodedata.normalize("NFC", _without_pages(text)).strip()
    if not text:
        raise Unreadable("no main document")
    return text, find_items(text), submission


def _without_pages(text: str) -> str:
    """Paragraphs that are page numbers or links to the contents, left out."""
    paragraphs = text.split("\n\n")
    return "\n\n".join(p for p in paragraphs if len(p) > 40 or not _PAGE.fullmatch(p.strip()))
