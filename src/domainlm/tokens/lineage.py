"""From a token of a shard back to its document, and to the bytes of the source it was made of.

Each step is checked: the tokens of the document must spell its text, the source must have the
hash it had, and the place in it is proved by what stands around it (see `align`).
"""

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from domainlm.artifacts import read_json, sha256_bytes
from domainlm.corpus import documents
from domainlm.corpus.documents import Document, Origin
from domainlm.errors import DIFFERENCE, USAGE, DomainLMError
from domainlm.tokens.align import json_string, locate
from domainlm.tokens.shards import open_shards, token_bytes
from domainlm.tokens.tokenizer import byte_letters

# A document's own bytes (those that `source_sha256` is of), and the bytes of its origin.
Read = Callable[[Document], tuple[bytes, bytes]]


@dataclasses.dataclass(frozen=True)
class Trace:
    """Where a token comes from. Ranges are up to, not including, their ends.

    `bytes` are of the document's text in UTF-8, which a token may cut within a character; `text`
    are the `characters` it has a part of. `own` are the bytes of the document as the source gave
    it (a file, a member of an archive, the text of a row), whose hash is `source_sha256`, and
    `source` where these lie in a file, as `Origin` counts. With `exact` they are the token's and
    nothing else but markup and white space, else they hold it somewhere; `note` says why. Both
    are None where the source was not read. The separator after a document has no bytes.
    """

    position: int
    token: int
    shard: str
    table: str
    document: str
    uri: str
    source_sha256: str
    bytes: tuple[int, int]
    characters: tuple[int, int]
    text: str
    own: tuple[int, int] | None = None
    source: Origin | None = None
    exact: bool = False
    note: str = ""


def trace(run: Path, folder: str, split: str, position: int, read: Read | None = None) -> Trace:
    """The trace of token `position` (over the shards of `split` in order, as `Shards` counts).

    `run` is the run directory, `folder` that of the shards ("tokens", or "tokens/ARM"), and `read`
    gives the bytes of the source, or raises OSError where they are not at hand and LookupError
    where they changed. Raises `DomainLMError` (exit 4) where shard, document and source differ.
    """
    index = run / folder / "index.json"
    splits = read_json(index)["splits"] if index.is_file() else {}
    if split not in splits:
        raise DomainLMError(
            f"there are no tokens of {split!r} in {folder}",
            where=str(run),
            why=f"of {', '.join(splits)} there are" if splits else "it has no index.json",
            exit_code=USAGE,
        )
    opened = open_shards(run / folder, split)
    if not 0 <= position < opened.total:
        raise DomainLMError(
            f"there is no token {position:,}",
            where=f"{folder}, {split}",
            why=f"it has {opened.total:,} tokens, from 0 on",
            exit_code=USAGE,
        )
    number = int(np.searchsorted(opened.starts, position, side="right")) - 1
    shard = splits[split]["shards"][number]
    ends = np.fromfile(run / folder / shard["ends"], "<u8").astype(np.int64)
    at = position - opened.starts[number]
    row = int(np.searchsorted(ends, at, side="right"))
    first = int(ends[row - 1]) if row else 0
    ids = opened.window(opened.starts[number] + first, int(ends[row]) - first)
    table = documents.paths(run)[number]
    document = next(itertools.islice(documents.read([table], [split]), row, None), None)
    data = document.text.encode() if document else b""
    if document is None or _spelled(run / folder, ids) != data:
        raise DomainLMError(
            "a shard does not hold the text of its documents",
            where=f"{folder}/{shard['path']}, document {row}",
            why=f"{table.name} has another text there",
            fix="give the run command again",
            exit_code=DIFFERENCE,
        )
    sizes = token_bytes(run / folder)[ids]
    end = int(sizes[: at - first + 1].sum())
    begin = end - int(sizes[at - first])
    low, high = _characters(data, begin, end)
    found = Trace(
        position=position,
        token=int(ids[at - first]),
        shard=f"{folder}/{shard['path']}",
        table=table.relative_to(run).as_posix(),
        document=document.id,
        uri=document.uri,
        source_sha256=document.source_sha256,
        bytes=(begin, end),
        characters=(low, high),
        text=document.text[low:high],
    )
    return _sourced(found, document, read) if read else found


def _sourced(found: Trace, document: Document, read: Read) -> Trace:
    """The trace with its place in the source."""
    origin = document.origin
    if origin is None:
        return dataclasses.replace(found, note="it is not known where the document was found")
    try:
        own, raw = read(document)
        if sha256_bytes(own) != document.source_sha256:
            raise LookupError("its SHA-256 is another")
    except (OSError, DomainLMError) as error:
        reason = error.what if isinstance(error, DomainLMError) else error
        return dataclasses.replace(found, note=f"the source is not at hand: {reason}")
    except LookupError as error:
        raise DomainLMError(
            "the source is not what was read",
            where=document.uri,
            why=str(error.args[0]),
            exit_code=DIFFERENCE,
        ) from error
    low, high = found.characters
    if low == high:
        place: tuple[int, int, bool] = (0, len(own), False)
        note = "the separator after the document"
    else:
        place = locate(document.text, low, high, own)
        note = "" if place[2] else "the text here is not that of the source"
    start, end, exact = place
    whole = document.text[low:high].encode()
    if exact and own[start:end] == whole:  # the part of a character
        skipped = len(document.text[:low].encode())
        start, end = start + found.bytes[0] - skipped, start + found.bytes[1] - skipped
    within = _in_file(own, raw, start, end)
    source = origin
    if within is not None:
        source = Origin(origin.path, origin.start + within[0], origin.start + within[1])
    elif exact:
        exact, note = False, "the document's own bytes are proved; they are packed in the file's"
    return dataclasses.replace(found, own=(start, end), source=source, exact=exact, note=note)


def _in_file(own: bytes, raw: bytes, start: int, end: int) -> tuple[int, int] | None:
    """Where bytes `start` to `end` of a document's own lie in those of its origin."""
    if raw == own:
        return start, end
    try:
        text = own.decode()
    except UnicodeDecodeError:
        return None
    low, high = _characters(own, start, end)
    found = json_string(raw, text)
    return (int(found.begins[low]), int(found.ends[high])) if found else None


def _spelled(folder: Path, ids: Any) -> bytes:
    """The bytes that ids of a byte-level tokenizer stand for."""
    spec = read_json(folder / "tokenizer.json")
    special = {token["id"] for token in spec.get("added_tokens", ())}
    byte = {letter: value for value, letter in enumerate(byte_letters())}
    names = {number: token for token, number in spec["model"]["vocab"].items()}
    spelled = {
        n: b"" if n in special else bytes(byte[letter] for letter in names[n])
        for n in np.unique(ids).tolist()
    }
    return b"".join(spelled[n] for n in ids.tolist())


def _characters(data: bytes, start: int, end: int) -> tuple[int, int]:
    """The characters of UTF-8 that bytes `start` to `end` have a part of."""
    low, high = (len(data[:n].decode(errors="ignore")) for n in (start, end))
    cut = end < len(data) and data[end] & 0xC0 == 0x80
    return low, high + cut
