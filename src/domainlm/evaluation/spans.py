"""Which held-out text is scored: documents by hash, spread over groups, and a span of each.

Every choice is a SHA-256 of the seed and the document's id, so it depends on nothing that was
trained, and adding a document moves no other document's span.
"""

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from domainlm.artifacts import atomic_write
from domainlm.corpus.documents import Document, Section

Item = TypeVar("Item")


@dataclasses.dataclass(frozen=True)
class Span:
    """A piece of a document: `text` begins at character `start` and has `bytes` UTF-8 bytes.

    `section` is the label of the section that it lies in, for the most part; empty if in none.
    `year` is the document's, `novelty` its decile in the leakage audit; empty where not known.
    """

    document: str
    group: str
    split: str
    title: str
    start: int
    text: str
    bytes: int
    section: str
    year: str = ""
    novelty: str = ""


def hashed(*parts: object) -> int:
    """A 256-bit number that depends on all of `parts` and nothing else."""
    text = "\0".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest(), "big")


def pick(paths: Sequence[Path], split: str, limit: int, seed: int) -> list[str]:
    """Ids of at most `limit` documents of `split`, in the order of their choice.

    Round robin over the groups in hash order; within a group in hash order. Reads only the
    columns id, group and split.
    """
    members: dict[str, list[str]] = {}
    for path in paths:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(columns=["id", "group", "split"]):
                for row in batch.to_pylist():
                    if row["split"] == split:
                        members.setdefault(row["group"], []).append(row["id"])
    queues = {
        group: sorted(ids, key=lambda id: hashed(seed, "document", id))
        for group, ids in members.items()
    }
    return round_robin(queues, limit, seed)


def round_robin(queues: Mapping[str, Sequence[Item]], limit: int, seed: int) -> list[Item]:
    """Up to `limit` items: the first of each group in hash order of groups, then the second..."""
    order = sorted(queues, key=lambda group: hashed(seed, "group", group))
    longest = max((len(queue) for queue in queues.values()), default=0)
    chosen: list[Item] = []
    for turn in range(longest):
        chosen += [queues[group][turn] for group in order if turn < len(queues[group])]
        if len(chosen) >= limit:
            break
    return chosen[:limit]


def fetch(paths: Sequence[Path], ids: Sequence[str]) -> Iterator[Document]:
    """The documents with these ids, in reading order; reads only row groups that hold one."""
    wanted = set(ids)
    for path in paths:
        with pq.ParquetFile(path) as file:
            for number in range(file.num_row_groups):
                column = file.read_row_group(number, columns=["id"]).column("id").to_pylist()
                rows = [place for place, id in enumerate(column) if id in wanted]
                if rows:
                    for row in file.read_row_group(number).take(pa.array(rows)).to_pylist():
                        yield Document.of_row(row)


def cut(text: str, span_bytes: int, place: int) -> tuple[int, str]:
    """(start character, piece) of at most `span_bytes` bytes, placed by the number `place`.

    Cut on character boundaries; `span_bytes` = 0, or a text that fits, gives the whole text.
    """
    data = text.encode("utf-8")
    if not span_bytes or len(data) <= span_bytes:
        return 0, text
    begin = place % (len(data) - span_bytes + 1)
    end = begin + span_bytes
    while begin < len(data) and data[begin] & 0xC0 == 0x80:  # inside a character: on to the next
        begin += 1
    piece = data[begin:end].decode("utf-8", "ignore")  # without the half character at the end
    return len(data[:begin].decode("utf-8")), piece


def section_of(sections: Sequence[Section], start: int, end: int) -> str:
    """Label of the section without a flag that has over half of these characters, else empty."""
    for section in sections:
        shared = min(end, section.end) - max(start, section.start)
        if not section.flags and 2 * shared > end - start:
            return section.label
    return ""


def choose(
    documents: Sequence[Path], split: str, limit: int, span_bytes: int, seed: int
) -> list[Span]:
    """Spans of at most `limit` documents of `split` in the Parquet files `documents`.

    One contiguous span of at most `span_bytes` bytes a document (0: all of it), placed by hash.
    Pass 1 reads ids, groups and splits; pass 2 the chosen documents alone.
    """
    ids = pick(documents, split, limit, seed)
    rank = {id: place for place, id in enumerate(ids)}
    spans = []
    for document in fetch(documents, ids):
        start, text = cut(document.text, span_bytes, hashed(seed, "span", document.id))
        if text:
            size = len(text.encode("utf-8"))
            section = section_of(document.sections, start, start + len(text))
            whose = (document.id, document.group, split, document.title)
            year = str(document.date.year) if document.date else ""
            spans.append(Span(*whose, start, text, size, section, year))
    return sorted(spans, key=lambda span: rank[span.document])


def first_quarter(spans: Sequence[Span]) -> list[Span]:
    """The first quarter of each split's spans, in their order: as they were chosen, by hash."""
    splits = dict.fromkeys(span.split for span in spans)
    found = []
    for split in splits:
        mine = [span for span in spans if span.split == split]
        found += mine[: -(-len(mine) // 4)]
    return found


def held_out_sha256(spans: Sequence[Span]) -> str:
    """Hash of what was scored (ids, places and texts): equal hashes make runs comparable."""
    digest = hashlib.sha256()
    for span in spans:
        for part in (span.split, span.document, str(span.start), span.text):
            digest.update(part.encode("utf-8", "surrogatepass") + b"\0")
    return digest.hexdigest()


def primer(documents: Sequence[Path], size: int, seed: int) -> bytes:
    """About `size` bytes of `train` text (never more): pieces of 16 KB of many documents.

    Where that is too little text, whole documents. What PPMd reads before each span.
    """
    if not size:
        return b""
    piece = 16_384
    text = b""
    for span_bytes in (piece, 0):
        spans = choose(documents, "train", -(-size // piece), span_bytes, seed)
        text = "\n\n".join(span.text for span in spans).encode("utf-8")
        if len(text) >= size:
            break
    return text[:size].decode("utf-8", "ignore").encode("utf-8")


def write_spans(path: Path, spans: Sequence[Span]) -> int:
    """Write spans as Parquet, atomically; returns the number of rows."""
    table = pa.Table.from_pylist([dataclasses.asdict(span) for span in spans])
    with atomic_write(path) as file:
        pq.write_table(table, file, compression="zstd")
    return len(spans)


def read_spans(path: Path) -> list[Span]:
    """Read what `write_spans` wrote, in the same order."""
    return [Span(**row) for row in pq.read_table(path).to_pylist()]
