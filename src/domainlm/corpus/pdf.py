"""Text of PDFs by pdfium, in a process of its own: a hostile PDF may crash it or never end.

The helper lives as long as the process that asked. Both sides send a length (8 bytes) and as many
bytes: it says that it is ready, then takes PDFs and answers each in JSON: texts of pages or a slug.
"""

import contextlib
import json
import os
import re
import resource
import subprocess
import sys
from typing import IO

from domainlm.corpus.extract import Unreadable
from domainlm.errors import DomainLMError

PAGES = 20_000  # at most
SECONDS = 60  # of processor time for one file
MEMORY = 4 << 30  # bytes of address space of the helper
CHARACTERS = 100_000_000  # of text in one file

_PASSWORD = 4  # FPDF_ERR_PASSWORD of fpdfview.h
_HYPHEN = re.compile("[\ufffe\x02]\\s*")  # pdfium's mark of a word divided at a line's end
_CONTROL = re.compile("[\0-\x08\x0b\x0e-\x1f\x7f]")
_LOWER = re.compile(r"[\w,;]$")
_helpers: dict[int, "subprocess.Popen[bytes]"] = {}  # by process, since a fork must not share one


def pdf_to_text(data: bytes) -> str:
    """Text of a PDF: a blank line between pages, wrapped lines joined where that is safe.

    Raises `Unreadable`: `encrypted`, `damaged` (also where it takes more than `SECONDS` of
    processor time, or kills its reader), `no_text` (only pictures), `too_large` (pages, text).
    """
    answer = _asked(data)
    if isinstance(answer, str):
        raise Unreadable(answer)
    pages = [joined(_CONTROL.sub("", _HYPHEN.sub("", page))) for page in answer]
    if not any(pages):
        raise Unreadable("no_text")
    return "\n\n".join(page for page in pages if page)


def joined(page: str) -> str:
    """Lines of a page, joined where one is nearly as long as the longest and none ends there.

    That is: it ends in a letter, digit, comma or semicolon, and the next begins in lower case.
    """
    lines = [" ".join(line.split()) for line in page.splitlines()]
    full = 0.7 * max(map(len, lines), default=0)
    text = ""
    for line, before in zip(lines, ["", *lines], strict=False):
        wrapped = len(before) >= full and _LOWER.search(before) and line[:1].islower()
        text += (" " if wrapped else "\n") + line
    return text.strip()


def _asked(data: bytes) -> list[str] | str:
    """What the helper answers; "damaged" where it died of this file."""
    helper = _helpers.get(os.getpid())
    if helper is None or helper.poll() is not None:
        helper = _helpers[os.getpid()] = _started()
    assert helper.stdin and helper.stdout
    try:
        _send(helper.stdin, data)
        answer: list[str] | str = json.loads(_received(helper.stdout))
        return answer
    except (EOFError, BrokenPipeError):
        helper.wait()
        return "damaged"


def _started() -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", __name__, str(SECONDS)]
    pipe, quiet = subprocess.PIPE, subprocess.DEVNULL
    helper = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=quiet)
    assert helper.stdout
    try:
        _received(helper.stdout)
    except EOFError as error:
        raise DomainLMError(
            "PDFs cannot be read",
            where=" ".join(command),
            why="this process ended before it was ready",
            fix="pip install pypdfium2, and leave a process 4 GB of address space",
        ) from error
    return helper


def _send(pipe: IO[bytes], data: bytes) -> None:
    pipe.write(len(data).to_bytes(8, "little"))
    pipe.write(data)
    pipe.flush()


def _received(pipe: IO[bytes]) -> bytes:
    size = pipe.read(8)
    data = pipe.read(int.from_bytes(size, "little"))
    if len(size) < 8 or len(data) < int.from_bytes(size, "little"):
        raise EOFError
    return data


def _pages(data: bytes) -> list[str] | str:
    import pypdfium2  # type: ignore[import-untyped]

    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        return "encrypted" if getattr(error, "err_code", None) == _PASSWORD else "damaged"
    if len(document) > PAGES:
        return "too_large"
    pages: list[str] = []
    size = 0
    for number in range(len(document)):
        try:
            page = document[number]
            text = page.get_textpage()
            pages.append(text.get_text_bounded())
            text.close()
            page.close()
            size += len(pages[-1])
        except pypdfium2.PdfiumError:
            continue  # one page of many
        if size > CHARACTERS:
            return "too_large"
    document.close()
    return pages if pages else "damaged"


def _bound(what: int, value: int) -> None:
    hard = resource.getrlimit(what)[1]
    with contextlib.suppress(ValueError, OSError):  # a system may know no such bound
        resource.setrlimit(what, (value if hard < 0 else min(value, hard), hard))


def main() -> None:
    """Answer until the other side is gone; more processor time than allowed ends the process."""
    import pypdfium2  # noqa: F401  (it is there, or the process is not ready)

    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing that a library prints gets between the answers
    _bound(resource.RLIMIT_AS, MEMORY)
    _send(answers, b"ready")
    while True:
        try:
            data = _received(sys.stdin.buffer)
        except EOFError:
            return
        used = resource.getrusage(resource.RUSAGE_SELF)
        seconds = int(used.ru_utime + used.ru_stime) + int(sys.argv[1])
        _bound(resource.RLIMIT_CPU, seconds)
        _send(answers, json.dumps(_pages(data)).encode())


if __name__ == "__main__":
    main()
