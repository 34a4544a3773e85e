"""What was fetched, kept between runs: a tree as the server has it, over content-addressed blobs.

    DOMAINLM_CACHE/edgar/blobs/ab/<sha256>                 the bytes, once
    DOMAINLM_CACHE/edgar/hosts/<host>/<path>               a relative symlink to its blob
    DOMAINLM_CACHE/edgar/hosts/<host>/<folder>/.<name>.tag the validators of what can change
    DOMAINLM_CACHE/edgar/working/<host>/                   unfinished files of the lock's holder

A blob is written elsewhere, synced and renamed, then its link is renamed into place, so a kill at
any moment leaves a whole file or none. A link's own time is when the server last confirmed it.
"""

import contextlib
import fcntl
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from domainlm.artifacts import write_json
from domainlm.console import say
from domainlm.errors import DomainLMError
from domainlm.pretrained import cache_folder

_BLOB = re.compile(r"(?:^|/)blobs/[0-9a-f]{2}/([0-9a-f]{64})$")


@dataclass(frozen=True)
class Kept:
    """A file of the cache: `path` is its link in the tree, `confirmed` seconds since 1970."""

    path: Path
    sha256: str
    bytes: int
    confirmed: float


def blob_name(path: Path) -> str:
    """The SHA-256 that a link into the blobs names; empty for any other file."""
    try:
        found = _BLOB.search(os.readlink(path))
    except OSError:
        return ""
    return found[1] if found else ""


class Cache:
    """The cache as one server's client sees it; threads may share one."""

    def __init__(self, base: str) -> None:
        self.top = cache_folder() / "edgar"
        self.host = _folder(base)
        self.working = self.top / "working" / self.host

    def place(self, url: str) -> Path:
        """Where the resource of an address stands in the tree."""
        path = unquote(urlsplit(url).path).lstrip("/")
        if ".." in path.split("/") or "\0" in path:
            raise DomainLMError("an address leads out of its tree", where=url)
        return self.top / "hosts" / _folder(url) / path

    def look_up(self, url: str) -> Kept | None:
        """The kept copy of an address; None where there is none or its blob is gone."""
        path = self.place(url)
        sha256 = blob_name(path)
        try:
            return (
                Kept(path, sha256, path.stat().st_size, path.lstat().st_mtime) if sha256 else None
            )
        except OSError:
            return None

    def keep(self, url: str, unfinished: Path, sha256: str, tags: dict[str, str]) -> Kept:
        """Move a synced file of the working folder into the cache; `tags` are its validators."""
        blob = self.top / "blobs" / sha256[:2] / sha256
        blob.parent.mkdir(parents=True, exist_ok=True)
        os.replace(unfinished, blob)
        path = self.place(url)
        path.parent.mkdir(parents=True, exist_ok=True)
        if tags:
            write_json(_tags_of(path), {"sha256": sha256, **tags})
        link = unfinished.with_suffix(".link")
        link.unlink(missing_ok=True)
        link.symlink_to(os.path.relpath(blob, path.parent))
        os.replace(link, path)
        return Kept(path, sha256, path.stat().st_size, path.lstat().st_mtime)

    def tags(self, kept: Kept) -> dict[str, str]:
        """The validators (etag, last-modified) that came with these very bytes."""
        try:
            found = json.loads(_tags_of(kept.path).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        # A kill between tags and link leaves tags of bytes that are not here: ask without them.
        return found if found.pop("sha256", "") == kept.sha256 else {}

    def confirm(self, kept: Kept) -> None:
        """Note that the server still has these bytes."""
        os.utime(kept.path, follow_symlinks=False)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """One crawl a server on this cache: two would ask twice, and at twice the rate.

        A second one waits, and then finds what the first has fetched. The lock goes with its
        process; what a killed one left unfinished is removed.
        """
        self.working.mkdir(parents=True, exist_ok=True)
        with open(self.working / ".lock", "w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"  waiting for another run that is downloading from {self.host}")
                fcntl.flock(file, fcntl.LOCK_EX)
            for left in self.working.iterdir():
                if left.name != ".lock":
                    left.unlink(missing_ok=True)
            yield


def _folder(url: str) -> str:
    return urlsplit(url).netloc.lower().replace(":", "_")


def _tags_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.tag")
