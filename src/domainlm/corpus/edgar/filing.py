"""The whole way from the bytes of a filing to clean text and its items."""

import unicodedata

from domainlm.corpus.documents import Section
from domainlm.corpus.edgar.items import find_items
from domainlm.corpus.edgar.pages import without_furniture
from domainlm.corpus.edgar.plain import paged_text
from domainlm.corpus.edgar.submission import Submission, parse
from domainlm.corpus.edgar.tree import Filing
from domainlm.corpus.extract import Unreadable
from domainlm.corpus.html import marked_text
from domainlm.corpus.marks import without_marks


def read_filing(
    data: bytes, filing: Filing, tables: str
) -> tuple[str, tuple[Section, ...], Submission]:
    """Clean text, items and submission of the filing's bytes; `tables` is `keep` or `drop`.

    Raises `Unreadable` with a slug where there is no text to read.
    """
    submission = parse(data, [filing.form] if filing.form else [])
    read = marked_text if submission.is_html else paged_text
    text = without_furniture(read(submission.body, tables))
    # Entities may have put in letters and accents apart.
    text, links = without_marks(unicodedata.normalize("NFC", text))
    if not text.strip():
        raise Unreadable("no main document")
    form = filing.form or submission.form or "10-K"
    return text, find_items(text, links, form, filing.period or submission.period), submission
