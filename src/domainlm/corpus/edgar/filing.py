"""The whole way from the bytes of a filing to clean text and its items."""

import unicodedata

from domainlm.corpus.documents import Section
from domainlm.corpus.edgar.items import find_items
from domainlm.corpus.edgar.pages import without_furniture
from domainlm.corpus.edgar.plain import paged_text
from domainlm.corpus.edgar.submission import Submission, is_html, parse
from domainlm.corpus.edgar.tree import Filing
from domainlm.corpus.extract import Unreadable, decode
from domainlm.corpus.html import marked_text
from domainlm.corpus.marks import Link, settled, without_marks


def read_filing(
    data: bytes, filing: Filing, tables: str
) -> tuple[str, tuple[Section, ...], Submission]:
    """Clean text, items and submission of the filing's bytes.

    `tables`: numeric tables are kept as rows ("keep"), left out ("drop"), or replaced by a line
    "[table]" ("mark"). Raises `Unreadable` with a slug where there is no text to read.
    """
    submission = parse(data, [filing.form] if filing.form else [])
    text, links = _text(submission.body, submission.is_html, tables)
    if not text.strip():
        raise Unreadable("no main document")
    form = filing.form or submission.form or "10-K"
    return text, find_items(text, links, form, filing.period or submission.period), submission


def read_exhibit(content: bytes, tables: str) -> str:
    """Clean text of one exhibit's bytes; empty where it has none. Raises as `decode` does."""
    body = decode(content)
    return _text(body, is_html(body), tables)[0]


def _text(body: str, html: bool, tables: str) -> tuple[str, tuple[Link, ...]]:
    marked = without_furniture((marked_text if html else paged_text)(body, tables))
    # Entities may have put in letters and accents apart.
    marked = unicodedata.normalize("NFC", marked)
    text, links = without_marks(marked)
    if "\n\n\n" in text or text != text.strip():  # marks stood between white space
        text, links = without_marks(settled(marked))
    if not unicodedata.is_normalized("NFC", text):  # or between a letter and its accent
        text, links = unicodedata.normalize("NFC", text), ()
    return text, links
