"""What is printed for people: hostile text stays text."""

import io

import pytest
from rich.console import Console

from domainlm import console

HOSTILE = "a\x1b[31mred\x1b]0;title\x07 \u202egnp.exe\u2066 [bold]no[/bold] \x07end"


@pytest.mark.parametrize("terminal", [True, False])
def test_hostile_text_reaches_no_terminal(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    there = Console(file=file, force_terminal=terminal, width=100, color_system=None)
    monkeypatch.setattr(console, "console", there)
    console.say(HOSTILE)
    console.status(HOSTILE)
    with console.progress(HOSTILE, 2) as advance:
        advance(1, HOSTILE)
    text = file.getvalue()
    assert "ared gnp.exe [bold]no[/bold] end" in text
    assert not {"\x1b[31m", "\x1b]", "\u202e", "\u2066", "\x07"} & {
        text[i : i + n] for i in range(len(text)) for n in (1, 2, 5)
    }
