"""The headline picture: 1600 x 900, understood in ten seconds.

The prompt is chosen by a rule and not by eye: the first of the frozen list that has a true
continuation, else the first. The footer says so.
"""

import functools
import io
import logging
import warnings
from collections.abc import Sequence
from typing import Any

import matplotlib
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties
from matplotlib.patches import FancyBboxPatch
from matplotlib.textpath import text_to_path

from domainlm.evaluation.evidence import Evidence, Sample
from domainlm.report import view, words
from domainlm.report.charts import canvas, write

SIZE = (1600, 900)
MARGIN = 56
WORDS = 45
PITCH = 38  # from bar to bar
PAPER, CARD, INK, MUTED = "#f6f5f1", "#ffffff", "#16191d", "#545b66"
COLOURS = {"stock": "#69707c", "scratch": "#1d5fae", "continued": "#0d7a5f", "baseline": "#a9afb8"}
TRUTH, ALERT = "#16191d", "#9c2f11"


def render(evidence: Evidence, samples: Sequence[Sample]) -> bytes:
    """The picture as PNG, exactly 1600 x 900 pixels, the same bytes for the same evidence."""
    with matplotlib.rc_context({"font.family": list(_families())}), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a glyph that no font here has is drawn as a box
        figure, axes = canvas(*SIZE)
        figure.set_facecolor(PAPER)
        y = _head(axes, evidence)
        prompt = chosen(view.prompts(evidence, samples))
        bars = _bars(evidence)
        floor = SIZE[1] - 130 - PITCH * len(bars)
        _columns(axes, evidence, prompt, y, floor - 18)
        _strip(axes, evidence, bars, floor)
        _footer(axes, evidence, prompt)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=72, facecolor=PAPER, metadata={"Software": None})
    return buffer.getvalue()


def chosen(prompts: Sequence[view.Prompt]) -> view.Prompt | None:
    """The first prompt with a true continuation, else the first."""
    return next((p for p in prompts if p.true_text), prompts[0] if prompts else None)


def cut_words(text: str, limit: int = WORDS) -> str:
    """The first `limit` words on one line, with an ellipsis where there were more."""
    parts = text.split()
    return " ".join(parts[:limit]) + ("…" if len(parts) > limit else "")


@functools.cache
def _families() -> tuple[str, ...]:
    """A plain sans serif that is here, then the one that comes with matplotlib."""
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    here = {font.name for font in font_manager.fontManager.ttflist}
    plain = [f for f in ("Inter", "Helvetica Neue", "Arial", "Liberation Sans") if f in here]
    return (*plain[:1], "DejaVu Sans")


@functools.lru_cache(4096)
def _word_width(word: str, size: float, weight: str) -> float:
    font = FontProperties(family=_families(), size=size, weight=weight)
    return float(text_to_path.get_text_width_height_descent(word, font, False)[0])


def _width(text: str, size: float, weight: str) -> float:
    space = _word_width("n n", size, weight) - 2 * _word_width("n", size, weight)
    parts = text.split(" ")
    return sum(_word_width(part, size, weight) for part in parts) + space * (len(parts) - 1)


def wrap(text: str, width: float, size: float, lines: int, weight: str = "normal") -> list[str]:
    """At most `lines` lines no wider than `width`; what does not fit is cut with an ellipsis."""
    found: list[str] = []
    rest = text.split()
    while rest:
        line = rest.pop(0)
        while _width(line, size, weight) > width and len(line) > 1:  # one endless word
            keep = max(1, int(len(line) * width / _width(line, size, weight)) - 1)
            rest.insert(0, line[keep:])
            line = line[:keep]
        while rest and _width(f"{line} {rest[0]}", size, weight) <= width:
            line = f"{line} {rest.pop(0)}"
        found.append(line)
        if len(found) == lines:
            break
    if rest:
        last = found[-1]
        while " " in last and _width(f"{last}…", size, weight) > width:
            last = last.rpartition(" ")[0]
        found[-1] = last.rstrip(" .,;:…") + "…"
    return found


def _block(
    axes: Axes, x: float, y: float, lines: Sequence[str], step: float, **style: Any
) -> float:
    for line in lines:
        write(axes, x, y, line, va="top", **style)
        y += step
    return y


def _box(axes: Axes, x: float, y: float, width: float, height: float, colour: str) -> None:
    style = "round,pad=0,rounding_size=10"
    axes.add_patch(FancyBboxPatch((x, y), width, height, boxstyle=style, fc=colour, ec="none"))


def _head(axes: Axes, evidence: Evidence) -> float:
    """The first notice and the title; where they end."""
    y, width = 34.0, SIZE[0] - 2 * MARGIN
    if evidence.notices:
        lines = wrap(evidence.notices[0], width - 40, 22, 2)
        _box(axes, MARGIN, y - 4, width, 30.0 * len(lines) + 16, "#fbe6dd")
        y = _block(axes, MARGIN + 20, y + 9, lines, 30, fontsize=22, color=ALERT) + 23
    title = wrap(words.headline(evidence), width, 39, 3, "bold")
    return _block(axes, MARGIN, y, title, 49, fontsize=39, color=INK, fontweight="bold") + 8


def _columns(
    axes: Axes, evidence: Evidence, prompt: view.Prompt | None, y: float, floor: float
) -> None:
    """The opening, and below it what each model and the document itself say next."""
    if prompt is None:
        write(axes, MARGIN, y + 30, "No continuation was generated.", fontsize=26, color=MUTED)
        return
    tail = prompt.prompt.split()
    opening = ("… " if len(tail) > 34 else "") + " ".join(tail[-34:])
    lines = wrap(f"The opening:  “{opening}”", SIZE[0] - 2 * MARGIN, 22, 2)
    y = _block(axes, MARGIN, y, lines, 30, fontsize=22, color=MUTED, style="italic") + 10
    arms = view.arms(evidence)
    wanted = ["stock", *arms[:1]] if "stock" in evidence.models else arms[:2]
    columns = []
    for name in wanted:
        text = next((a.text for a in prompt.answers if a.model == name), None)
        if text is not None:
            columns.append((_who(evidence, name), COLOURS[evidence.models[name].role], text))
    if prompt.true_text:
        who = "company" if view.nouns(evidence).group == "company" else "document"
        columns.append((f"What the {who} really wrote", TRUTH, prompt.true_text))
    gap = 24.0
    width = (SIZE[0] - 2 * MARGIN - gap * (len(columns) - 1)) / max(1, len(columns))
    heads = [wrap(head, width - 44, 23, 2, "bold") for head, _, _ in columns]
    top = y + 36 + 29 * max((len(lines) for lines in heads), default=0) + 8
    texts = [cut_words(text) or "(nothing)" for _, _, text in columns]
    for size in (34, 30, 28, 26, 24, 22):  # the largest at which every text is whole
        room = max(1, int((floor - top - 14) // (size * 1.3)))
        bodies = [wrap(text, width - 44, size, room) for text in texts]
        if all(" ".join(body) == text for body, text in zip(bodies, texts, strict=True)):
            break
    for i, (_, colour, _) in enumerate(columns):
        x = MARGIN + i * (width + gap)
        bold = {"fontsize": 23, "color": colour, "fontweight": "bold"}
        _box(axes, x, y, width, floor - y, CARD)
        axes.plot([x + 25, x + 25 + 50], [y + 18] * 2, color=colour, lw=6, solid_capstyle="round")
        _block(axes, x + 22, y + 34, heads[i], 29, **bold)
        _block(axes, x + 22, top, bodies[i], size * 1.3, fontsize=size, color=INK)


def _who(evidence: Evidence, name: str) -> str:
    model = evidence.models[name]
    how = {"stock": "Stock", "scratch": "Trained from scratch", "continued": "Trained further"}
    return f"{how.get(model.role, 'Compressor')}: {view.one_line(model.title) or name}"


def _bars(evidence: Evidence) -> list[tuple[str, float, str]]:
    """Stock, arms and the best compressor, best first, at most five."""
    best = view.best_baseline(evidence)
    names = {"stock", *view.arms(evidence)[:3], *([best.model] if best else [])}
    rows = [r for r in view.losses(evidence, view.main_split(evidence)) if r.model in names]
    known = [(r, evidence.models[r.model].role) for r in rows if r.model in evidence.models]
    return [(_who(evidence, r.model), r.bits_per_byte, COLOURS[role]) for r, role in known]


def _strip(
    axes: Axes, evidence: Evidence, bars: Sequence[tuple[str, float, str]], y: float
) -> None:
    """Bars of bits per byte, each with its name and its value."""
    if not bars:
        return
    where = words.split_words(evidence, view.main_split(evidence))
    head = f"Bits needed for each byte of {where} (lower is better)"
    write(axes, MARGIN, y + 12, head, fontsize=23, fontweight="bold", color=INK)
    left, right = MARGIN + 690, SIZE[0] - MARGIN - 90
    top = max(value for _, value, _ in bars)
    for i, (name, value, colour) in enumerate(bars):
        middle = y + 52 + PITCH * i
        label = wrap(name, left - MARGIN - 24, 22, 1)
        write(axes, MARGIN, middle, label[0], fontsize=22, color=INK)
        end = left + (right - left) * value / top
        _box(axes, left, middle - 13, max(20.0, end - left), 26, colour)
        write(axes, end + 14, middle, f"{value:.3f}", fontsize=23, fontweight="bold", color=INK)


def _footer(axes: Axes, evidence: Evidence, prompt: view.Prompt | None) -> None:
    """Where the picture comes from, and by which rule the prompt was chosen."""
    arms, nouns = view.arms(evidence), view.nouns(evidence)
    row = next(iter(view.losses(evidence, view.main_split(evidence))), None)
    model = evidence.models[arms[0]] if arms else None
    parts = [f"Run {evidence.name}"]
    if model:
        parts.append(f"model {model.sha256[:8] if model.sha256 else 'without a hash'}")
    if prompt and prompt.answers:
        parts.append(f"seed {prompt.answers[0].seed}")
    if row:
        parts.append(words.plural(row.documents, nouns.document, nouns.documents))
        parts.append(words.plural(row.groups, nouns.group, nouns.groups))
    lines = [" · ".join(parts)]
    if prompt:
        rule = "with a true continuation " if prompt.true_text else ""
        lines.append(
            f"The opening is chosen by rule: the first {rule}of a list fixed before training; "
            f"all are in the report. From: {prompt.source}"
        )
    y = SIZE[1] - 68.0
    for line in lines:
        text = wrap(line, SIZE[0] - 2 * MARGIN, 20, 1)
        write(axes, MARGIN, y + 10, text[0], fontsize=20, color=MUTED)
        y += 28
