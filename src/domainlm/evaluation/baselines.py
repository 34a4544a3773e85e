"""Compressors as language models: what a text costs without any neural network.

A compressor's output is a prediction's cost (Shannon 1948; Deletang 2023), so it stands in the same
table: bits of the compressed span, as nats = bits x ln 2. A stream's constant parts are not
charged: bits = 8 x (|C(primer + span)| - |C(primer)|), with an empty primer for a span alone.
The difference of two lengths is exact to one byte.

`xz` is raw LZMA2 at preset 9 extreme without container; `PPMd` is variant H (as in 7-Zip), order 8,
64 MB; `PPMd primed` has first read text of `train`, the nearest a compressor comes to training.
PPMd has no copy of its state, so the primer is read again for each span (5 MB/s).
"""

import lzma
import math
from collections.abc import Sequence

NAMES = ("xz", "PPMd", "PPMd primed")
TITLES = {
    "xz": "xz (LZMA2, preset 9 extreme, each text alone)",
    "PPMd": "PPMd (order 8, 64 MB, each text alone)",
    "PPMd primed": "PPMd (order 8, 64 MB) after reading training text",
}
ORDER, MEMORY = 8, 64 << 20


def xz_size(data: bytes) -> int:
    """Bytes of `data` as raw LZMA2; a dictionary as large as the data changes speed alone."""
    dictionary = max(4096, 1 << (len(data) - 1).bit_length()) if data else 4096
    preset = 9 | lzma.PRESET_EXTREME
    chain = [{"id": lzma.FILTER_LZMA2, "preset": preset, "dict_size": min(dictionary, 64 << 20)}]
    return len(lzma.compress(data, format=lzma.FORMAT_RAW, filters=chain))


def ppmd_size(data: bytes) -> int:
    """Bytes of `data` under PPMd variant H, order 8, 64 MB."""
    import pyppmd

    encoder = pyppmd.Ppmd7Encoder(ORDER, MEMORY)
    return len(encoder.encode(data)) + len(encoder.flush())


def nats(name: str, texts: Sequence[str], primer: bytes = b"") -> list[float]:
    """Nats of each text under the baseline `name`; `primer` is used by "PPMd primed" alone."""
    size = xz_size if name == "xz" else ppmd_size
    before = primer if name == "PPMd primed" else b""
    constant = size(before)
    return [8 * math.log(2) * (size(before + text.encode("utf-8")) - constant) for text in texts]
