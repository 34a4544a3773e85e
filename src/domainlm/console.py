"""The talk: everything for people goes to stderr; progress bars only on a terminal."""

import contextlib
import re
import time
import unicodedata
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.control import Control
from rich.markup import escape
from rich.segment import ControlType

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]P^_X][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-_])?")
_BIDI = {*map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2066, 0x206A)), "\u200e", "\u200f"}

console = Console(stderr=True, highlight=False, soft_wrap=True)


def clean(text: str) -> str:
    """`text` without terminal escapes, control characters and direction overrides."""
    text = _ANSI.sub("", text.replace("\r\n", "\n"))
    return "".join(
        c
        for c in text
        if c in "\n\t"
        or (
            unicodedata.category(c) not in {"Cc", "Cs"}
            and c not in _BIDI
            and ord(c) & 0xFFFE != 0xFFFE  # not a character, and not allowed in XML
        )
    )


def say(text: str, style: str = "") -> None:
    """Print a line for people. `text` is hostile: no markup and no terminal escape is obeyed."""
    console.control(Control((ControlType.ERASE_IN_LINE, 2)))  # a status; nothing elsewhere
    console.print(escape(clean(text)), style=style or None)


def status(text: str) -> None:
    """Show a line that the next one replaces; on a terminal only."""
    if console.is_terminal:
        line = clean(text).ljust(console.width - 1)[: console.width - 1]
        console.print(escape(line), end="\r")


@contextlib.contextmanager
def progress(title: str, total: float, unit: str = "") -> Iterator[Callable[[float, str], None]]:
    """Yield `advance(done, note)`: a bar on a terminal, a line every 15 seconds elsewhere.

    `done` is the amount finished so far, in the unit of `total`.
    """
    if console.is_terminal:
        from rich.progress import (  # here, since a third of the start-up time goes to it
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        columns = (
            TextColumn("  {task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task(clean(title), total=total, note=unit)
            yield lambda done, note: bar.update(task, completed=done, note=clean(note or unit))
        return
    began = last = time.monotonic()

    def line(done: float, note: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= 15:
            last = now
            left = (now - began) * (total - done) / done if done else 0.0
            say(f"  {title}: {done:,.0f} of {total:,.0f} {unit} {note} ({left:,.0f} s left)")

    yield line
