"""Read documents to clean ones: boilerplate, quality, language, privacy; and their sketches.

A task takes a part (some row groups of a `read-NNNNN.parquet`) and writes, under
`corpus/parts/clean-NNNNN`: `.parquet` (the documents that are left), `.json` (what went, why, and
how many bytes), `.index.parquet` (a row a document, for the split) and the sketches of `near`.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from domainlm.artifacts import atomic_write, sha256_bytes, write_json
from domainlm.corpus import documents, near, privacy, quality, shuffle
from domainlm.corpus.documents import Document
from domainlm.corpus.edits import Edit, edited, without_spans
from domainlm.corpus.lines import Frequent, file, records
from domainlm.recipe import Clean, Privacy

CHUNK = 8_000_000  # characters sketched at once
EXAMPLES = 3  # masked examples of a kind
INDEX = pa.schema(
    [
        ("id", pa.string()),
        ("group", pa.string()),
        ("date", pa.date32()),
        ("bytes", pa.int64()),
        ("hash", pa.binary(16)),  # of the text: half of its SHA-256
    ]
)


def outputs(part: int) -> tuple[str, ...]:
    """The files of a cleaned part."""
    ends = (".parquet", ".json", ".index.parquet", *near.OUTPUTS)
    return tuple(near.prefix(part) + end for end in ends)


def read_part(root: Path, part: dict[str, Any]) -> Iterator[tuple[int, Document]]:
    """Documents of a part with their numbers: part in the upper 32 bits, row in the lower."""
    found = documents.read([root / part["file"]], row_groups=part.get("row_groups"))
    return ((part["number"] << 32 | row, document) for row, document in enumerate(found))


def count_lines(root: Path, arguments: dict[str, Any]) -> None:
    """Task: the records of one part's lines, a file for each unit that is counted."""
    part = arguments["part"]
    for unit in arguments["units"]:
        shuffle.write(root / file(unit, part["number"]), records(read_part(root, part), unit))


@dataclasses.dataclass
class _Account:
    """What became of a part's documents, in documents, lines and bytes."""

    documents: int = 0
    bytes: int = 0
    lines: Counter[str] = dataclasses.field(default_factory=Counter)
    line_bytes: Counter[str] = dataclasses.field(default_factory=Counter)
    dropped: Counter[str] = dataclasses.field(default_factory=Counter)
    dropped_bytes: Counter[str] = dataclasses.field(default_factory=Counter)
    findings: Counter[str] = dataclasses.field(default_factory=Counter)
    examples: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    masked_bytes: int = 0  # by how much masking made the text shorter
    languages: Counter[str] = dataclasses.field(default_factory=Counter)


def clean(root: Path, arguments: dict[str, Any]) -> dict[str, int]:
    """Task: one part cleaned."""
    cleaner = _Cleaner(root, arguments)
    part = arguments["part"]
    table, written, indexed = outputs(part["number"])[:3]
    account = _Account()
    index: dict[str, list[Any]] = {name: [] for name in INDEX.names}
    sketches = near.SketchWriter(root / near.prefix(part["number"]), arguments["threshold"])
    texts: list[str] = []
    size = 0
    with documents.Writer(root / table) as out:
        for number, read in read_part(root, part):
            document = cleaner(number, read, account)
            if document is None:
                continue
            out.add(document)
            data = document.text.encode()
            digest = bytes.fromhex(sha256_bytes(data))[:16]
            row = (document.id, document.group, document.date, len(data), digest)
            for column, value in zip(index.values(), row, strict=True):
                column.append(value)
            texts.append(document.text)
            size += len(document.text)
            if size >= CHUNK:
                sketches.add(texts)
                texts, size = [], 0
    sketches.add(texts)
    sketches.close()
    with atomic_write(root / indexed) as out:
        pq.write_table(pa.table(index, INDEX), out, compression="zstd")
    kept = {"documents": len(index["id"]), "bytes": sum(index["bytes"])}
    write_json(root / written, vars(account) | {"kept": kept})
    return {table: kept["documents"]}


class _Cleaner:
    """The steps of the recipe's `clean` and `privacy`, for the documents of one part."""

    def __init__(self, root: Path, arguments: dict[str, Any]) -> None:
        rules = Clean.model_validate(arguments["clean"])
        self.privacy = Privacy.model_validate(arguments["privacy"])
        self.frequent = [Frequent(root, unit, n) for unit, n in arguments["frequent"].items()]
        self.rules = quality.expand(rules.rules)
        self.languages = rules.languages
        own = self.privacy.recognizer
        self.recognizer = privacy.load_recognizer(own) if own else None

    def __call__(self, number: int, document: Document, account: _Account) -> Document | None:
        """The document as it is kept, or None; counts what went."""
        account.documents += 1
        account.bytes += len(document.text.encode())
        document = self._without_lines(number, document, account)
        reason = self._reason(document.text, account)
        if reason is None and self.privacy.mode != "off":
            document, reason = self._private(document, account)
        if reason is None:
            return document
        account.dropped[reason] += 1
        account.dropped_bytes[reason] += len(document.text.encode())
        return None

    def _without_lines(self, number: int, document: Document, account: _Account) -> Document:
        spans = {s: f.unit for f in self.frequent for s in f.spans(number, document)}
        for start, end, rule in quality.dropped_lines(document.text, self.rules):
            spans.setdefault((start, end), rule)
        if not spans:
            return document
        left = without_spans(document, spans)
        gone = len(document.text.encode()) - len(left.text.encode())
        for (start, end), rule in spans.items():
            size = len(document.text[start:end].encode())
            account.lines[rule] += 1
            account.line_bytes[rule] += size
            gone -= size
        account.line_bytes[rule] += gone  # blank lines that were left
        return left

    def _reason(self, text: str, account: _Account) -> str | None:
        """Why a document is left out, if it is."""
        if not text.strip():
            return "empty"
        if self.rules and (failed := quality.failed(text, self.rules)):
            return failed
        if self.languages:
            from domainlm.corpus.language import language

            found, _ = language(text)
            account.languages[found] += 1
            if found not in self.languages:
                return "language"
        return None

    def _private(self, document: Document, account: _Account) -> tuple[Document, str | None]:
        text = document.text
        findings = privacy.find(text, self.privacy.kinds, self.recognizer)
        for finding in findings:
            account.findings[finding.kind] += 1
            examples = account.examples.setdefault(finding.kind, [])
            if len(examples) < EXAMPLES:
                examples.append(privacy.masked(finding.kind, text[finding.start : finding.end]))
        if not findings or self.privacy.mode == "report":
            return document, None
        if self.privacy.mode == "drop":
            return document, "privacy"
        edits: list[Edit] = [(f.start, f.end, privacy.placeholder(f.kind)) for f in findings]
        masked = edited(document, edits)
        account.masked_bytes += len(text.encode()) - len(masked.text.encode())
        return masked, None
