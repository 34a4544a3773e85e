"""What a crawl will cost, before it begins: filings, requests, hours, bytes, tokens.

FIGURES are means measured by `benchmarks/corpus_figures.py` on 153 real 10-K and 10-K405 filings of
`shared/filings` (2026-11-25): 40, 33, 40 and 40 of the four eras, of 37, 12, 14 and 29 companies.
From 2001 on these are mostly large companies, so the sizes are on the high side. Tokens a byte are
of byte-level BPEs trained on 16 MB of one half of the companies, on texts of the other half.
"""

import dataclasses
import datetime

from domainlm.corpus.edgar import crawl
from domainlm.corpus.edgar.client import SEC_RATE
from domainlm.corpus.edgar.selection import FIRST_YEAR
from domainlm.errors import DomainLMError
from domainlm.recipe import Recipe, Source


@dataclasses.dataclass(frozen=True)
class Era:
    """Means of the annual reports filed in some years; bytes, and tokens a byte of text."""

    document: float  # bytes of the main document
    submission: float  # bytes of the full submission
    kept: float  # bytes of clean text, tables kept
    dropped: float  # and without its numeric tables
    tokens: dict[int, float]  # a byte of text with its tables, by vocabulary


ERAS = ((1993, 2000), (2001, 2008), (2009, 2018), (2019, 9999))
ANSWER = 0.2  # seconds until the SEC's answer begins, for which a request keeps its turn; assumed
# No full submission with XBRL was at hand: three and five times the document are assumed there.
FIGURES = (
    Era(203e3, 372e3, 146e3, 126e3, {16_384: 0.235, 32_768: 0.227}),
    Era(1_072e3, 1_403e3, 321e3, 298e3, {16_384: 0.215, 32_768: 0.209}),
    Era(2_232e3, 6_700e3, 318e3, 291e3, {16_384: 0.209, 32_768: 0.204}),
    Era(2_630e3, 13_000e3, 376e3, 344e3, {16_384: 0.206, 32_768: 0.201}),
)


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What is expected of a crawl. Without a limit and an index in the cache, nothing is known."""

    filings: int | None
    counted: str  # where the number of filings is from
    requests: int | None = None  # at most: one more a filing for its company's list
    hours: float | None = None  # at the polite rate
    download_bytes: float | None = None
    text_bytes: float | None = None
    tokens: float | None = None

    def __str__(self) -> str:
        if self.filings is None:
            return f"filings: {self.counted}"
        return (
            f"about {self.filings:,} filings ({self.counted}), at most {self.requests:,} requests "
            f"in {self.hours or 0:,.1f} hours, {(self.download_bytes or 0) / 1e9:,.1f} GB, "
            f"{(self.text_bytes or 0) / 1e9:,.2f} GB of text, {(self.tokens or 0) / 1e6:,.0f} "
            "million tokens (sizes on the high side)"
        )


def era_of(year: int) -> int:
    """Number of the era that a year of filing is in."""
    return next(n for n, (_, last) in enumerate(ERAS) if year <= last)


def estimate(recipe: Recipe) -> Estimate:
    """What the recipe's crawl will cost, from the cached index or else its limit."""
    source = recipe.source
    years, counted = _years(source)
    if not years:
        return Estimate(None, counted)
    quarters = 4 * len(_asked(source))
    requests = quarters + len(years)
    size = text = tokens = 0.0
    nearest = min(FIGURES[0].tokens, key=lambda v: abs(v - recipe.tokens.vocabulary))
    for year in years:
        era = FIGURES[era_of(year)]
        by_name = year >= crawl.NO_DOCUMENT_NAMES.year and not source.exhibits
        requests += by_name
        size += era.document if by_name else era.submission
        clean = era.dropped if source.tables == "drop" else era.kept
        text += clean
        tokens += clean * era.tokens[nearest]
    if source.limit_bytes and size > source.limit_bytes:
        share = source.limit_bytes / size
        requests = quarters + int((requests - quarters) * share)
        years = years[: max(1, int(len(years) * share))]
        size, text, tokens = size * share, text * share, tokens * share
    hours = requests * (1 + ANSWER) / (source.rate or SEC_RATE) / 3600
    return Estimate(len(years), counted, requests, hours, size, text, tokens)


def _years(source: Source) -> tuple[list[int], str]:
    """The year of each filing expected, and how that is known."""
    try:
        filings = crawl.known(source)
        return [f.filed.year if f.filed else 2001 for f in filings], "by the index in the cache"
    except DomainLMError:
        pass
    if source.limit is None:
        return [], "the number is known only once the index is read (or give source.limit)"
    asked, limit = _asked(source), source.limit
    years = [asked[n * len(asked) // limit] for n in range(limit)]
    return years, "by source.limit, spread evenly over the years"


def _asked(source: Source) -> list[int]:
    return sorted(set(source.years)) or list(range(FIRST_YEAR, datetime.date.today().year + 1))
