"""The evaluation's prompts: real held-out openings, chosen by rule before anything is trained.

The rule: held-out documents in the order of their hashes, `unseen` before `seen`, one prompt a
group; where there are sections, labels take turns: certain items of filings, else the labels that
most held-out documents have. A section with a flag opens nothing. The prompt is the first 240
characters of the section (or document), cut at white space; the 700 after it are what the author
really wrote. For filings the three classic openings follow.
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


def choose(paths: Sequence[Path], count: int, seed: int, filings: bool) -> list[dict[str, Any]]:
    """`count` prompts (and the classics for filings) as rows of `corpus/prompts.json`."""
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
        text = document.text[start : start + PROMPT + TRUE]
        cut = _space_before(text, PROMPT)
        if len(rows) < count and cut > 60 and len(text) > cut + 200:
            rows.append(
                {
                    "id": f"opening-{len(rows) + 1}",
                    "text": text[:cut],
                    "source": f"{document.title}{', ' if label else ''}{label}",
                    "document_id": document.id,
                    "true_text": text[cut : _space_before(text, len(text))],
                }
            )
    if filings:
        rows += [
            {
                "id": f"classic-{n}",
                "text": text,
                "source": "classic",
                "document_id": None,
                "true_text": None,
            }
            for n, text in enumerate(CLASSIC, 1)
        ]
    return rows


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
