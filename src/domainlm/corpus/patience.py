"""Asking a store again while it cannot be reached, and telling what an error means.

One bad object is a FileNotFoundError or a PermissionError, which the ledger counts. A store that
cannot be reached is never that: it stops the run, since what comes of it must not hang on a
network's mood.
"""

import io
import re
import time
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar, cast

from domainlm.errors import DomainLMError

PATIENCE = 20.0  # seconds of asking again before a store counts as out of reach

T = TypeVar("T")


def patiently(where: str, ask: Callable[[], T]) -> T:
    """What `ask` returns, asked again with growing waits while the store cannot be reached."""
    began = time.monotonic()
    wait = 1.0
    while True:
        try:
            return ask()
        except (DomainLMError, ValueError, TypeError, LookupError, ImportError, MemoryError):
            raise
        except Exception as error:
            kind = _fault(error)
            if kind is not None:
                raise kind(words(error)) from error
            if time.monotonic() - began + wait > PATIENCE:
                unreachable(where, error)
        time.sleep(wait)
        wait *= 2


def _fault(error: BaseException) -> type[OSError] | None:
    """FileNotFoundError or PermissionError for what an object is to blame for; else None."""
    status = None
    while True:
        response = getattr(error, "response", None)
        if isinstance(response, dict):  # botocore
            response = response.get("ResponseMetadata", {})
            status = status or response.get("HTTPStatusCode")
        status = status or getattr(response, "status_code", None) or getattr(error, "status", None)
        if error.__cause__ is None:
            break
        error = error.__cause__  # fsspec tells of a lost connection as of a missing file
    if status in {404, 410}:
        return FileNotFoundError
    if status in {401, 403}:
        return PermissionError
    if status:
        return None
    if isinstance(error, FileNotFoundError | IsADirectoryError | NotADirectoryError):
        return FileNotFoundError
    if isinstance(error, PermissionError) or "Credentials" in type(error).__name__:
        return PermissionError
    return None


class Outlasting(io.RawIOBase):
    """A file that is opened again, at the same place, when its connection was lost.

    `ask` calls a function until it succeeds or the store counts as lost; `open_` opens the file,
    with ranges or (where the server has none) as a copy; a `size` of None is asked of the file.
    """

    def __init__(
        self,
        ask: Callable[[Callable[[], bytes]], bytes],
        size: int | None,
        open_: Callable[[bool], Any],
    ) -> None:
        self._ask, self._size, self._open = ask, size or 0, open_
        self._ranges = True
        self._file: Any = None
        self._at = 0

    def first(self) -> None:
        """Open the file, so that a missing one shows now."""
        self._ask(lambda: self._read(0))

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        """Like that of any file; nothing is asked of the store."""
        self._at = max(0, (0, self._at, self._size)[whence] + offset)
        return self._at

    def tell(self) -> int:
        """The place in the file."""
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer from the store; 0 at the end."""
        data = self._ask(lambda: self._read(len(buffer)))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def _read(self, count: int) -> bytes:
        try:
            if self._file is None:
                self._file = self._open(self._ranges)
                self._size = self._size or self._file.size
            if not count or self._at >= self._size:
                return b""
            self._file.seek(self._at)
            return cast(bytes, self._file.read(count))
        except ValueError:  # the server has no ranges: from now on from a copy on the disk
            if not self._ranges:
                raise
            self._ranges, self._file = False, None
            return self._read(count)
        except Exception:
            self._file = None
            raise

    def close(self) -> None:
        """Let go of the store's file."""
        if self._file is not None:
            self._file.close()
            self._file = None
        super().close()


def unreachable(where: str, error: BaseException) -> NoReturn:
    """Raise the error that stops a run, which the same command goes on with."""
    raise DomainLMError(
        "the source cannot be reached",
        where=where,
        why=words(error),
        fix="give the same command again: the run goes on",
    ) from error


def words(error: BaseException) -> str:
    """The first line of an error's text, without what a URL may hold of secrets."""
    text = (str(error) or type(error).__name__).strip().splitlines()[0]
    return re.sub(r"//[^/@\s]+@|(?<=\?)\S+", "...", text)[:300]
