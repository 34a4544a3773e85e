"""The evaluation's prompts: real held-out openings, chosen by rule before anything is trained.

The rule: held-out documents in the order of their hashes, `unseen` before `seen`, one prompt a
group; where there are sections, labels take turns: certain items of filings, else the labels that
most held-out documents have. A section with a flag opens nothing. The prompt is the first 240
characters of the section (or document), cut at white space; the 700 after it are what the author
really wrote. For filings follow a sentence that announces a table, with the table's first line, and
the classic openings.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from domainlm.artifacts import sha256_bytes
from domainlm.corpus import documents
from domainlm.corpus.documents import HELD_OUT, Document

PROMPT, TRUE = 240, 700  # characters
PREFERRED = ("Item 1A", "Item 7", "Item 1", "Item 7A", "Item 3")
CLASSIC = (
    "Item 1A. Risk Factors. Our business is subject to",
    "The following table sets forth our consolidated",
    "Management's Discussion and Analysis of Financial Condition",
)
TABLE = re.compile(r"[^.\s][^.\n]*\bfollowing table\b[^\n]*\n+[^|\n]+ \| [^\n]+(?=\n[^|\n]+ \| )")


def choose(paths: Sequence[Path], count: int, seed: int, filings: bool) -> list[dict[str, Any]]:
    """`count` prompts (and the classics for filings) as rows of `corpus/prompts.json`."""
    if not count:
        return []
    held_out = []
    common: Counter[str] = Counter()  # label -> held-out documents that could open with it
    for d in documents.read(paths, HELD_OUT, text=False):
        place = sha256_bytes(f"{seed}|prompt|{d.id}".encode())
        held_out.append((d.split == "seen", place, d.id, d.group))
        common.update(list(_starts(d)))
    wanted: dict[str, int] = {}
    groups: set[str] = set()
    for *_, id_, group in sorted(held_out):
        if group not in groups and len(wanted) < 4 * count:
            groups.add(group)
            wanted[id_] = len(wanted)
    chosen = sorted(
        (d for d in documents.read(paths, HELD_OUT) if d.id in wanted), key=lambda d: wanted[d.id]
    )
    rows: list[dict[str, Any]] = []
    for document in chosen:
        label, start = _opening(document, len(rows), common)
        if len(rows) < count and (opening := _cut(document, start, PROMPT, label)):
            rows.append({"id": f"opening-{len(rows) + 1}", **opening})
    if filings:
        tables = (_table(document) for document in chosen)
        if table := next((row for row in tables if row), None):
            rows.append({"id": "table-1", **table})
        classics = [text for text in CLASSIC if not table or "table" not in text]
        rows += [
            {
                "id": f"classic-{n}",
                "text": text,
                "source": "classic",
                "document_id": None,
                "true_text": None,
            }
            for n, text in enumerate(classics, 1)
        ]
    return rows


def _cut(document: Document, start: int, size: int, label: str) -> dict[str, Any] | None:
    """A prompt of at most `size` characters from `start`, and what follows; None if too short."""
    text = document.text[start : start + size + TRUE]
    cut = _space_before(text, size)
    if cut <= 60 or len(text) <= cut + 200:
        return None
    return {
        "text": text[:cut],
        "source": f"{document.title}{', ' if label else ''}{label}",
        "document_id": document.id,
        "true_text": text[cut : _space_before(text, len(text))],
    }


def _table(document: Document) -> dict[str, Any] | None:
    """The document's first sentence that announces a table, with the table's first line."""
    for found in TABLE.finditer(document.text):
        size = found.end() - found.start()
        if size <= 2 * PROMPT and (row := _cut(document, found.start(), size, "a table")):
            return row
    return None


def _starts(document: Document) -> dict[str, int]:
    """Labels and starts of the sections that are long enough and beyond doubt."""
    long = PROMPT + TRUE
    return {s.label: s.start for s in document.sections if not s.flags and s.end - s.start > long}


def _opening(document: Document, turn: int, common: Mapping[str, int]) -> tuple[str, int]:
    """Label and start of the section to open with; the document's own start without sections."""
    starts = _starts(document)
    labels = [label for label in PREFERRED if label in starts]
    labels = labels or sorted(starts, key=lambda label: (-common[label], label))
    if not labels:
        return "", len(document.text) - len(document.text.lstrip())
    label = labels[turn % min(3, len(labels))]
    return label, starts[label]


def _space_before(text: str, position: int) -> int:
    """Where the last white space before `position` begins (or `position` if there is none)."""
    found = list(re.finditer(r"\s+", text[: position + 1]))
    return found[-1].start() if found and found[-1].start() > 0 else position
