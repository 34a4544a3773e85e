"""The headline picture: one opening, what each model makes of it, and by how much it is better.

To be understood in ten seconds by someone who never heard of bits per byte. The opening is chosen
by a rule and not by eye: the first of the frozen list that has a true continuation, else the
first. The footer says so.
"""

import dataclasses
import functools
import io
import logging
import warnings
from collections.abc import Sequence
from typing import Any

import matplotlib
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import FancyBboxPatch
from matplotlib.textpath import text_to_path

from domainlm.evaluation.evidence import Evidence, Sample
from domainlm.report import findings, view, words

WORDS = 45
LINE = 1.3  # height of a line, in font sizes
PAPER, CARD, INK, MUTED = "#f6f5f1", "#ffffff", "#16191d", "#545b66"
COLOURS = {"stock": "#69707c", "scratch": "#1d5fae", "continued": "#0d7a5f", "other": "#69707c",
           "baseline": "#b89a66"}  # fmt: skip
TRUTH, ALERT, COPIED = "#16191d", "#9c2f11", "#f6d7e4"


@dataclasses.dataclass(frozen=True)
class Layout:
    """A picture's pixels: its size, its margins and its type sizes."""

    width: int
    height: int
    margin: float
    title: float
    text: float  # everything else but the continuations and the footer
    small: float
    bodies: tuple[float, ...]  # of continuations: the largest at which all are whole
    arms: int  # bars of arms


WIDE = Layout(1600, 900, 56, 39, 22, 20, (34, 30, 28, 26, 24, 22), 2)
CARD_SIZE = Layout(1200, 628, 40, 30, 18, 16, (26, 24, 22, 20, 18), 1)  # of a link's preview


def render(evidence: Evidence, samples: Sequence[Sample], layout: Layout = WIDE) -> bytes:
    """The picture as PNG, exactly as large as its layout, the same bytes for the same evidence."""
    with matplotlib.rc_context({"font.family": list(_families())}), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a glyph that no font here has is drawn as a box
        buffer = io.BytesIO()
        figure = draw(evidence, samples, layout)
        figure.savefig(buffer, format="png", dpi=72, facecolor=PAPER, metadata={"Software": None})
    return buffer.getvalue()


def draw(evidence: Evidence, samples: Sequence[Sample], layout: Layout = WIDE) -> Figure:
    """The picture, not yet in pixels."""
    figure = Figure(figsize=(layout.width / 72, layout.height / 72), dpi=72)
    axes = figure.add_axes((0, 0, 1, 1), frameon=False)  # measured from the upper left corner
    axes.set_axis_off()
    axes.set_xlim(0, layout.width)
    axes.set_ylim(layout.height, 0)
    y = _head(axes, evidence, layout)
    prompt = chosen(view.prompts(evidence, samples))
    foot = layout.height - layout.small * LINE * 2 - 0.3 * layout.margin
    bars = _bars(evidence, layout)
    told = _told(evidence, layout)
    tall = max(len(bars) * _pitch(layout), (sum(map(len, told)) + 0.4) * layout.text * LINE)
    floor = foot - tall - layout.text * 1.9 - 10
    _columns(axes, evidence, prompt, (y, floor - 0.25 * layout.margin), layout)
    _strip(axes, evidence, bars, told, floor, layout)
    _footer(axes, evidence, prompt, foot, layout)
    return figure


def write(axes: Axes, x: float, y: float, text: str, **style: Any) -> None:
    """Text as it is: a dollar sign is a dollar sign."""
    axes.text(x, y, text, **{"color": INK, "va": "center", "parse_math": False, **style})


def _pitch(layout: Layout) -> float:
    return layout.text * 1.7


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
    axes: Axes, x: float, y: float, lines: Sequence[str], size: float, **style: Any
) -> float:
    """Lines of text from `y` down; where they end."""
    for line in lines:
        write(axes, x, y, line, va="top", fontsize=size, **style)
        y += size * LINE
    return y


def _box(axes: Axes, x: float, y: float, width: float, height: float, colour: str) -> None:
    style = "round,pad=0,rounding_size=8"
    axes.add_patch(FancyBboxPatch((x, y), width, height, boxstyle=style, fc=colour, ec="none"))


def _head(axes: Axes, evidence: Evidence, layout: Layout) -> float:
    """The first notice and the title; where they end."""
    margin, size = layout.margin, layout.text
    y, width = 0.6 * margin, layout.width - 2 * margin
    if evidence.notices:
        lines = wrap(evidence.notices[0], width - 40, size, 2)
        tall = size * LINE * len(lines) + 16
        _box(axes, margin, y - 6, width, tall, "#fbe6dd")
        _block(axes, margin + 20, y + 4, lines, size, color=ALERT)
        y += tall + 10
    title = wrap(words.headline(evidence, brief=True), width, layout.title, 3, "bold")
    return _block(axes, margin, y, title, layout.title, fontweight="bold") + 6


def _columns(
    axes: Axes,
    evidence: Evidence,
    prompt: view.Prompt | None,
    between: tuple[float, float],
    layout: Layout,
) -> None:
    """The opening, and below it what each model and the document itself say next."""
    (y, floor), margin, size = between, layout.margin, layout.text
    room = layout.width - 2 * margin
    if prompt is None:
        write(axes, margin, y + 30, "No continuation was generated.", fontsize=size, color=MUTED)
        return
    tail = prompt.prompt.split()
    opening = ("… " if len(tail) > 34 else "") + " ".join(tail[-34:])
    lines = wrap(f"The opening:  “{opening}”", room, size, 2)
    y = _block(axes, margin, y, lines, size, color=MUTED, style="italic") + 10
    columns = _texts(evidence, prompt)
    badges = _badges(evidence, prompt)
    gap = 0.4 * margin
    width = (room - gap * (len(columns) - 1)) / max(1, len(columns))
    inner, heads_size = width - 2 * size, size + 1
    heads = [wrap(head, inner, heads_size, 2, "bold") for head, _, _ in columns]
    top = y + 1.5 * size + heads_size * LINE * max(map(len, heads), default=0) + 6
    texts = [cut_words(text) or "(nothing)" for _, _, text in columns]
    tiny = 0.85 * layout.small
    tall = tiny * LINE + 8 if badges else 0.0
    foot = floor - tall - (10 if tall else 0)
    for body in layout.bodies:  # the largest at which every text is whole
        most = max(1, int((foot - top - 10) // (body * LINE)))
        bodies = [wrap(text, inner, body, most) for text in texts]
        if all(" ".join(found) == text for found, text in zip(bodies, texts, strict=True)):
            break
    for i, (head, colour, _) in enumerate(columns):
        x = margin + i * (width + gap)
        _box(axes, x, y, width, floor - y, CARD)
        bar = [x + size + 3, x + size + 3 + 50]
        axes.plot(bar, [y + 0.8 * size] * 2, color=colour, lw=5, solid_capstyle="round")
        bold = {"color": colour, "fontweight": "bold"}
        _block(axes, x + size, y + 1.5 * size, heads[i], heads_size, **bold)
        end = _block(axes, x + size, top, bodies[i], body)
        if head in badges:
            end = min(end + 4, floor - tall - 4)
            line = wrap(badges[head], inner - 16, tiny, 1)
            _box(axes, x + size, end, _width(line[0], tiny, "normal") + 16, tall, COPIED)
            _block(axes, x + size + 8, end + 5, line, tiny)


def _badges(evidence: Evidence, prompt: view.Prompt) -> dict[str, str]:
    """By the head of a column: that its text copies, where it does."""
    shown = {a.model: a for a in reversed(prompt.answers)}  # of each model the first
    return {
        _who(evidence, name): f"{a.copied_words:,} words in a row stand in training text"
        for name, a in shown.items()
        if a.copied_words >= findings.COPIED
    }


def _texts(evidence: Evidence, prompt: view.Prompt) -> list[tuple[str, str, str]]:
    """(who, colour, text): stock and the best arm, or two arms, and what is true."""
    arms = view.arms(evidence)
    found = []
    for name in ["stock", *arms[:1]] if "stock" in evidence.models else arms[:2]:
        text = next((a.text for a in prompt.answers if a.model == name), None)
        if text is not None:
            found.append((_who(evidence, name), COLOURS[evidence.models[name].role], text))
    if prompt.true_text:
        what = f"What the {view.nouns(evidence).document} says next"
        found.append((what, TRUTH, prompt.true_text))
    return found


def _who(evidence: Evidence, name: str, brief: bool = False) -> str:
    """Role and title; briefly as little as tells them apart."""
    model, arm = evidence.models[name], name in view.arms(evidence)
    how = {"stock": "Stock", "scratch": "Trained from scratch", "continued": "Trained further",
           "other": "Another model"}.get(model.role, "Baseline")  # fmt: skip
    title = view.one_line(model.title) or name
    if arm:
        title = title.split(" (")[0].split(",")[0]
    return how if brief and arm else f"{how}: {view.brief(evidence, name) if brief else title}"


def _bars(evidence: Evidence, layout: Layout) -> list[tuple[str, float, str]]:
    """Stock, arms and the best baseline, best first: all of the same text."""
    best = view.best_baseline(evidence)
    arms = view.arms(evidence)[: layout.arms]
    names = {"stock", *arms, *([best.model] if best else [])}
    rows = [r for r in view.losses(evidence, view.main_split(evidence)) if r.model in names]
    known = [(r, evidence.models[r.model].role) for r in rows if not view.part(evidence, r)]
    return [(_who(evidence, r.model, True), r.bits_per_byte, COLOURS[role]) for r, role in known]


def _told(evidence: Evidence, layout: Layout) -> list[list[str]]:
    """How sure the headline is and what it cost, as lines for the right half of the strip."""
    width = layout.width / 2 - layout.margin - 20
    said = (findings.interval(evidence), findings.price(evidence))
    return [wrap(text, width, layout.text, 3) for text in said]


def _strip(
    axes: Axes,
    evidence: Evidence,
    bars: Sequence[tuple[str, float, str]],
    told: Sequence[Sequence[str]],
    y: float,
    layout: Layout,
) -> None:
    """Bars of bits per byte, each with its name and value; beside them, how sure, and the cost."""
    margin, size, middle = layout.margin, layout.text, layout.width / 2
    where = words.split_words(evidence, view.main_split(evidence))
    head = f"Bits needed for each byte of {where} (lower is better)"
    if bars:
        line = wrap(head, layout.width - 2 * margin, size, 1, "bold")[0]
        write(axes, margin, y + size * 0.8, line, fontsize=size, fontweight="bold")
    y += size * 1.9
    left, right = margin + 0.29 * layout.width, middle - 4.2 * size
    top = max((value for _, value, _ in bars), default=1.0)
    for i, (name, value, colour) in enumerate(bars):
        level = y + _pitch(layout) * (i + 0.45)
        label = wrap(name, left - margin - 14, size, 1)[0]
        write(axes, margin, level, label, fontsize=size)
        end = left + (right - left) * value / top
        _box(axes, left, level - 0.6 * size, max(16.0, end - left), 1.2 * size, colour)
        write(axes, end + 0.6 * size, level, f"{value:.3f}", fontsize=size, fontweight="bold")
    for lines in told:
        y = _block(axes, middle + 20, y, lines, size) + 0.4 * size * LINE


def _footer(
    axes: Axes, evidence: Evidence, prompt: view.Prompt | None, y: float, layout: Layout
) -> None:
    """Where the picture comes from, and by which rule the opening was chosen."""
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
            f"The opening is the first {rule}of a list fixed before training; all are in the "
            f"report. From: {prompt.source}"
        )
    room = layout.width - 2 * layout.margin
    fitted = [wrap(line, room, layout.small, 1)[0] for line in lines]
    _block(axes, layout.margin, y, fitted, layout.small, color=MUTED)
