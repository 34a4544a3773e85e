"""Baselines without any neural network: compressors as language models, and no model at all.

A compressor's output is a prediction's cost (Shannon 1948; Deletang 2023), so it stands in the same
table: bits of the compressed span, as nats = bits x ln 2. A stream's constant parts are not
charged: `xz` is |C(span)| - |C(nothing)| bytes, `PPMd` what it writes for a span beyond what it
writes for nothing. Both are exact to one byte.

`xz` is raw LZMA2 at preset 9 extreme without container; `PPMd` is variant H (as in 7-Zip), order 8,
64 MB. It may read other text first, which is not charged: text of `train`, the nearest a compressor
comes to training; or the group's own latest earlier document, which is copying last year's. PPMd
has no copy of its state, so that text is read again for each span (5 MB/s). `uniform` is 8 bits a
byte. The 5-gram is in `ngram`.
"""

import datetime
import lzma
import math
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from domainlm.evaluation.spans import Span, cut, fetch, hashed

NAMES = ("xz", "PPMd", "PPMd primed")  # always measured
LAST_YEAR, NGRAM = "PPMd + last year", "5-gram"
TITLES = {  # of all baselines, in the order of the report
    "uniform": "every byte equally likely (8 bits)",
    "xz": "xz (LZMA2, preset 9 extreme, each text alone)",
    "PPMd": "PPMd (order 8, 64 MB, each text alone)",
    "PPMd primed": "PPMd (order 8, 64 MB) after reading training text",
    LAST_YEAR: "PPMd (order 8, 64 MB) after reading the same group's latest earlier document",
    NGRAM: "5-gram over the run's tokens (interpolated, modified Kneser-Ney)",
}
ORDER, MEMORY = 8, 64 << 20
EARLIER_BYTES = 1_000_000  # of an earlier document that PPMd reads, at most


def xz_size(data: bytes) -> int:
    """Bytes of `data` as raw LZMA2; a dictionary as large as the data changes speed alone."""
    dictionary = max(4096, 1 << (len(data) - 1).bit_length()) if data else 4096
    preset = 9 | lzma.PRESET_EXTREME
    chain = [{"id": lzma.FILTER_LZMA2, "preset": preset, "dict_size": min(dictionary, 64 << 20)}]
    return len(lzma.compress(data, format=lzma.FORMAT_RAW, filters=chain))


def ppmd_size(data: bytes, before: bytes = b"") -> int:
    """Bytes that PPMd variant H, order 8, 64 MB, writes for `data` after it has read `before`."""
    import pyppmd

    encoder = pyppmd.Ppmd7Encoder(ORDER, MEMORY)
    encoder.encode(before)
    return len(encoder.encode(data)) + len(encoder.flush())


def nats(name: str, texts: Sequence[str], primer: bytes = b"") -> list[float]:
    """Nats of each text under the baseline `name`, any but the 5-gram.

    `primer` is what "PPMd primed" and "PPMd + last year" read before each text; others ignore it.
    """
    encoded = [text.encode("utf-8") for text in texts]
    if name == "uniform":
        sizes = [len(data) for data in encoded]
    elif name == "xz":
        constant = xz_size(b"")
        sizes = [xz_size(data) - constant for data in encoded]
    else:
        before, constant = b"" if name == "PPMd" else primer, ppmd_size(b"")
        sizes = [ppmd_size(data, before) - constant for data in encoded]
    return [8 * math.log(2) * size for size in sizes]


def previous(paths: Sequence[Path], spans: Sequence[Span]) -> list[tuple[str, str] | None]:
    """(id, text) of the latest document by the span's group that is dated before the span's own.

    Of any split, for whoever writes this year's report has last year's. One for each span, None
    where there is none or the span's document has no date; of several of the same date, one by
    hash. Text beyond 1 MB is cut to the 1 MB around the span's own place (`Span.start`).
    Reads ids, groups and dates, then the row groups that hold what was found.
    """
    groups = pa.array(sorted({span.group for span in spans}), pa.string())
    dates: dict[str, datetime.date] = {}
    written: dict[str, list[str]] = {}  # group -> ids of its dated documents
    for path in paths:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(columns=["id", "group", "date"]):
                wanted = pc.and_(pc.is_in(batch["group"], groups), pc.is_valid(batch["date"]))
                for row in batch.filter(wanted).to_pylist():
                    dates[row["id"]] = row["date"]
                    written.setdefault(row["group"], []).append(row["id"])
    chosen: dict[str, list[int]] = {}  # id -> places of the spans it stands before
    for place, span in enumerate(spans):
        own = dates.get(span.document, datetime.date.min)
        earlier = [id for id in written.get(span.group, ()) if dates[id] < own]
        if earlier:
            latest = max(earlier, key=lambda id: (dates[id], hashed("previous", id)))
            chosen.setdefault(latest, []).append(place)
    found: list[tuple[str, str] | None] = [None] * len(spans)
    for document in fetch(paths, list(chosen)):
        for place in chosen[document.id]:
            found[place] = document.id, _around(document.text, spans[place].start)
    return found


def _around(text: str, start: int) -> str:
    """At most `EARLIER_BYTES` of `text`, with character `start` in the middle where it can be."""
    middle, size = (len(part.encode("utf-8")) for part in (text[:start], text))
    begin = min(middle - EARLIER_BYTES // 2, size - EARLIER_BYTES)
    return cut(text, EARLIER_BYTES, max(0, begin))[1]
