"""The playground's page in a real browser, against a real server."""

import json
import math
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import chromium
from domainlm.evaluation import loss
from domainlm.playground import run as runs
from evaluation_helpers import prose
from playground_helpers import ASK, Served

# --- in a browser ---------------------------------------------------------------------------

in_browser = pytest.mark.skipif(not chromium.PROGRAM, reason="chromium is not installed")
BADGES = "[...document.querySelectorAll('#sides .badge')].map(b => b.textContent)"
LOOKED = f"!{BADGES}.some(t => t.includes('Looking'))"
STATUS = "document.getElementById('status').textContent"
WRITTEN = f"{STATUS} === 'Written.'"
LENGTH = "document.querySelectorAll('#sides .t').length"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Browser]:
    with chromium.Browser(tmp_path_factory.mktemp("browser") / "profile") as browser:
        yield browser


@pytest.fixture
def page(browser: chromium.Browser, served: Served) -> Iterator[chromium.Page]:
    """The page, loaded; in the end no request went elsewhere and the console is silent."""
    page = browser.page()
    page.open(f"{served.url}/")
    page.wait("document.querySelectorAll('#models input').length === 3")
    yield page
    assert not page.complaints
    own = (f"{served.url}/", f"blob:{served.url}/", "data:,")
    assert all(address.startswith(own) for address in page.requests), page.requests
    page.close()


def setting(page: chromium.Page, **values: Any) -> None:
    for name, value in values.items():
        page.run(f"document.getElementById({name!r}).value = {json.dumps(value)}")
        page.run(f"document.getElementById({name!r}).dispatchEvent(new Event('change'))")


def focused(page: chromium.Page) -> str:
    return str(page.run("document.activeElement.id || document.activeElement.className"))


def tab_to(page: chromium.Page, name: str) -> None:
    for _ in range(40):
        if focused(page) == name:
            return
        page.key("Tab")
    raise AssertionError(f"Tab never reaches {name}")


@in_browser
@pytest.mark.slow
def test_by_keyboard_from_opening_to_alternatives(page: chromium.Page) -> None:
    setting(page, tokens=20)
    tab_to(page, "go")
    page.key("Enter")
    page.wait(WRITTEN)
    assert page.run("[...document.querySelectorAll('#sides h3')].map(h => h.textContent)") == [
        "stock", "scratch", "continued"
    ]  # fmt: skip
    assert page.run("document.querySelectorAll('#sides .words')[1].children.length") >= 5
    tab_to(page, "words")
    page.key("ArrowRight")
    page.key("ArrowRight")
    assert re.match(r"\d+\.\d bits: ", page.run("document.getElementById('peek').textContent"))
    assert page.run("document.getElementById('spoken').textContent.split('\\n').length") == 7
    page.key("Escape")
    assert page.run("document.getElementById('peek').hidden")
    page.wait("document.querySelectorAll('#sides .badge').length === 3")
    page.wait(LOOKED)
    assert all("train" in text for text in page.run(BADGES))


@in_browser
@pytest.mark.slow
def test_it_streams_and_stops_when_asked(page: chromium.Page, served: Served) -> None:
    setting(page, tokens=400)
    page.run("document.getElementById('prompt').focus()")
    page.key("Enter", control=True)
    first = page.wait(LENGTH)
    assert page.wait(f"{LENGTH} > {first + 30} && {LENGTH}") < 3 * 400
    page.key("Escape")
    page.wait(f"{STATUS}.startsWith('Stopped.')")
    assert 0 < page.run(LENGTH) < 3 * 300
    assert page.run("document.getElementById('stop').disabled")
    assert served.lines("/api/continue", {**ASK, "tokens": 1})[-1] == {"end": True}
    setting(page, tokens=3)
    page.key("Enter", control=True)
    page.wait(WRITTEN)


@in_browser
@pytest.mark.slow
def test_hostile_text_is_text(page: chromium.Page, tmp_path: Path) -> None:
    setting(page, opening=2, tokens=40)
    page.run("document.getElementById('go').click()")
    page.wait(WRITTEN)
    assert page.run("document.title") == "test: playground"
    assert page.run("document.querySelectorAll('script').length") == 1
    assert page.run("document.querySelectorAll('img').length") == 0
    for place in ("asked", "source", "true-text"):
        shown = page.run(f"document.getElementById({place!r}).textContent")
        assert "<script>document.title" in shown and "␛[31mred␛]0;title␇" in shown
        assert "⟨U+202E⟩back" in shown
    controls = r"/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e]/"
    page.wait(LOOKED)
    page.run("document.querySelector('script').remove()")
    assert not page.run(f"{controls}.test(document.body.textContent)")
    for width in (360, 400, 768, 1400, 2560):
        page.size(width)
        sizes = page.run(
            "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        )
        assert sizes[0] <= sizes[1] and width - 20 <= sizes[1] <= width, (width, sizes)


def snapshot_of(page: chromium.Page, folder: Path) -> str:
    page.browser.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
    page.run("document.getElementById('save').click()")
    deadline = time.monotonic() + 30
    while not (found := list(folder.glob("*.html"))):
        assert time.monotonic() < deadline
        page.run("0")
        time.sleep(0.05)
    time.sleep(0.2)
    return found[0].read_text("utf-8")


@in_browser
@pytest.mark.slow
def test_a_snapshot_is_a_page_of_text(page: chromium.Page, tmp_path: Path) -> None:
    setting(page, opening=2, tokens=10)
    page.run("document.getElementById('go').click()")
    page.wait(WRITTEN)
    written = page.run("document.querySelectorAll('#sides .words')[2].textContent")
    text = snapshot_of(page, tmp_path)
    assert "<script" not in text and "<img" not in text and "<button" not in text
    assert "&lt;script&gt;document.title" in text and "\x1b" not in text
    assert "default-src 'none'" in text and "Most probable here" in text
    other = page.browser.page(360)
    other.open((tmp_path / "test-snapshot.html").as_uri())
    assert other.run("document.title") == "DomainLM snapshot"
    assert other.run("document.querySelectorAll('.words')[2].textContent") == written
    assert other.run("document.documentElement.scrollWidth") == 360
    assert not other.complaints and len(other.requests) == 1
    other.close()


@in_browser
@pytest.mark.slow
def test_a_blind_vote_by_keyboard(page: chromium.Page, played: Path) -> None:
    file = played / "playground/votes.jsonl"
    before = len(file.read_text().splitlines()) if file.is_file() else 0
    setting(page, tokens=5)
    tab_to(page, "blind")
    page.key(" ")
    tab_to(page, "go")
    page.key("Enter")
    page.wait(f"{STATUS} === 'Both are written: vote below.'")
    assert page.run("[...document.querySelectorAll('#sides h3')].map(h => h.textContent)") == [
        "A", "B"
    ]  # fmt: skip
    shown = page.run("document.getElementById('result').innerText")
    assert not re.search("stock|scratch|continued", shown)
    for _ in range(40):
        page.key("Tab")
        if page.run("document.activeElement.dataset.vote") == "tie":
            break
    page.key("Enter")
    page.wait(f"{STATUS}.startsWith('Saved. A was ')")
    heads = page.run("[...document.querySelectorAll('#sides h3')].map(h => h.textContent)")
    assert [head[:6] for head in heads] == ["A was ", "B was "]
    rows = file.read_text().splitlines()
    assert len(rows) == before + 1 and json.loads(rows[-1])["vote"] == "tie"
    assert f"A was {json.loads(rows[-1])['a']['model']}" == heads[0]
    assert page.run("document.getElementById('tally').children.length") >= 1
    page.wait("document.querySelectorAll('#sides .badge').length === 2")
    page.wait(LOOKED)


@in_browser
@pytest.mark.slow
def test_two_tabs_at_once(page: chromium.Page, served: Served) -> None:
    other = page.browser.page(400)
    other.open(f"{served.url}/")
    other.wait("document.querySelectorAll('#models input').length === 3")
    for tab in (page, other):
        setting(tab, tokens=120, seed=7)
    for tab in (page, other):
        tab.run("document.getElementById('go').click()")
    for tab in (page, other):
        tab.wait(WRITTEN)
        tab.wait("document.querySelectorAll('#sides .badge').length === 3")
    texts = "[...document.querySelectorAll('#sides .words')].map(w => w.textContent)"
    assert page.run(texts) == other.run(texts)
    assert not other.complaints
    other.close()


@in_browser
@pytest.mark.slow
def test_measuring_a_text(page: chromium.Page, played: Path) -> None:
    text = prose("measured", 80) + "é😀 <b>"
    setting(page, text=text)
    page.run("document.getElementById('read').click()")
    page.wait("document.getElementById('read-status').textContent.startsWith('Measured.')")
    rows = page.run(
        "[...document.querySelectorAll('#score-rows tr')]"
        ".map(r => [...r.children].map(c => c.textContent))"
    )
    expected = {}
    for one in runs.open_run(played).players:
        how = (one.window, one.window // 2, one.separator, 1)
        [(tokens, nats)] = loss.nats(one.model, one.tokenizer, [text], *how)
        size = len(text.encode())
        expected[one.name] = [f"{nats / math.log(2) / size:.3f}", str(size), str(tokens)]
    assert {name: values for name, *values in rows} == expected
    assert [float(r[1]) for r in rows] == sorted(float(r[1]) for r in rows)
    assert page.run("document.querySelector('#readings .words').textContent") == text
    page.run("document.getElementById('find').click()")
    page.wait("document.getElementById('read-badge').textContent.includes('train')")


@in_browser
@pytest.mark.slow
def test_a_server_that_dies_in_the_middle(browser: chromium.Browser, played: Path) -> None:
    server = Served(played)
    page = browser.page()
    page.open(f"{server.url}/")
    page.wait("document.querySelectorAll('#models input').length === 3")
    setting(page, tokens=400)
    page.run("document.getElementById('go').click()")
    page.wait(f"{LENGTH} > 20")
    server.process.kill()
    server.process.wait(20)
    page.wait(f"{STATUS}.startsWith('The server is gone')")
    kept = page.run(LENGTH)
    assert kept > 20 and page.run("document.querySelectorAll('.busy').length") == 0
    page.run("document.getElementById('go').click()")
    page.wait(f"{STATUS}.startsWith('The server is gone')")
    again = Served(played, port=server.port)
    try:
        setting(page, tokens=4)
        page.run("document.getElementById('go').click()")
        page.wait(WRITTEN)
    finally:
        again.stop()
        page.close()


@in_browser
@pytest.mark.slow
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_accessibility(page: chromium.Page, theme: str) -> None:
    """axe-core finds nothing at WCAG 2.2 AA, with everything on the page shown."""
    page.call("Emulation.setEmulatedMedia",
              features=[{"name": "prefers-color-scheme", "value": theme}])  # fmt: skip
    setting(page, tokens=60, text=prose("axe", 60))
    page.run("document.getElementById('go').click()")
    page.wait(WRITTEN)
    page.wait("document.querySelectorAll('#sides .badge').length === 3")
    page.run("document.getElementById('read').click()")
    page.wait("document.getElementById('read-status').textContent.startsWith('Measured.')")
    page.run("document.querySelector('#sides .words').focus()")
    page.key("ArrowRight")
    page.run("document.getElementById('ballot').hidden = false")
    if folder := os.environ.get("PLAYGROUND_PICTURES"):
        page.picture(Path(folder) / f"{theme}.png")
    assert page.violations() == []
