"""Charts as inline SVG: text stays text, and colours are the page's CSS variables.

A chart is drawn on one axes whose units are the points of the SVG's viewBox, so that each label
stands where it is put. Colours go in as marker values and come out as `var(--...)`, so that the
page's light and dark themes apply.
"""

import dataclasses
import html
import io
import re
import textwrap
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from domainlm.evaluation.evidence import CurvePoint, Evidence
from domainlm.report import view, words

WIDTH = 440.0  # of a panel: readable on a phone, two side by side on a desk
COLOURS = {  # marker value -> CSS colour
    "#010203": "currentColor",
    "#010204": "var(--muted)",
    "#010205": "var(--line)",
    "#010206": "var(--stock)",
    "#010207": "var(--scratch)",
    "#010208": "var(--continued)",
    "#010209": "var(--baseline)",
}
INK, MUTED, LINE, STOCK, SCRATCH, CONTINUED, BASELINE = COLOURS
ROLES = {"stock": STOCK, "scratch": SCRATCH, "continued": CONTINUED, "baseline": BASELINE}
_STYLE: dict[Any, Any] = {"svg.fonttype": "none", "font.family": "DejaVu Sans"}


@dataclasses.dataclass(frozen=True)
class Bar:
    """One row of a forest plot."""

    label: str
    value: float
    low: float
    high: float
    colour: str


def canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure whose one axes is measured in points from the upper left corner."""
    figure = Figure(figsize=(width / 72, height / 72), dpi=72)
    axes = figure.add_axes((0, 0, 1, 1), frameon=False)
    axes.set_axis_off()
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    return figure, axes


def write(axes: Axes, x: float, y: float, text: str, **style: Any) -> None:
    """Text as it is: a dollar sign is a dollar sign."""
    settings = {"fontsize": 12, "color": INK, "va": "center", "parse_math": False, **style}
    axes.text(x, y, text, **settings)


def rule(axes: Axes, xs: Sequence[float], ys: Sequence[float], colour: str, **style: Any) -> None:
    """A line through points."""
    axes.plot(xs, ys, color=colour, **{"linewidth": 1.0, "solid_capstyle": "round", **style})


def svg(draw: Callable[[], Figure], name: str, description: str) -> str:
    """The figure as an `<svg>` for the page: no size, no date, no ids of its own, no namespace."""
    buffer = io.StringIO()
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}):
        draw().savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = re.sub(
        r"<!--.*?-->|<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.S
    )
    box = re.search(r'viewBox="([^"]+)"', text)
    label = html.escape(description, quote=True)
    text = re.sub(
        r"<svg[^>]*>",
        lambda _: f'<svg viewBox="{box[1] if box else ""}" role="img" aria-label="{label}">',
        text,
        count=1,
    )
    used = set(re.findall(r'#([\w-]+)[")]', text))
    text = re.sub(r' id="([^"]*)"', lambda m: m[0] if m[1] in used else "", text)
    text = text.replace("xlink:href", "href")
    for marker, colour in COLOURS.items():
        text = text.replace(marker, colour)
    # The page's own font; weights are numbers, and none is the normal one.
    text = re.sub(r'"font: (\d+) ([\d.]+)px [^;"<>]*', r'"font-weight: \1; font-size: \2px', text)
    return re.sub(r'"font: ([\d.]+)px [^;"<>]*', r'"font-size: \1px', text)


def _ticks(low: float, high: float, number: int = 4) -> list[float]:
    values = MaxNLocator(number).tick_values(low, high)
    return [float(v) for v in values if low <= v <= high]


def _forest(title: str, bars: Sequence[Bar], ends: tuple[float, float], zero: bool) -> Figure:
    """One panel: the name and the value on one line, the interval on the line below."""
    left, right, head, foot = 6.0, WIDTH - 6, 34.0, 26.0
    names = [textwrap.wrap(bar.label, 48) or [""] for bar in bars]
    height = head + sum(15.0 * len(lines) + 27 for lines in names) + foot
    figure, axes = canvas(WIDTH, height)

    def at(value: float) -> float:
        return left + (value - ends[0]) / (ends[1] - ends[0]) * (right - left)

    write(axes, 2, 15, title, fontsize=12, fontweight="bold")
    rows, y = [], head
    for lines in names:
        rows.append(y)
        y += 15.0 * len(lines) + 27
    for tick in _ticks(*ends):
        x, strong = at(tick), zero and abs(tick) < 1e-12
        for row, lines in zip(rows, names, strict=True):  # not through the names
            middle = row + 15 * len(lines) + 8
            rule(axes, [x, x], [middle - 6, middle + 6], MUTED if strong else LINE)
        align = "left" if x < 18 else "right" if x > WIDTH - 18 else "center"
        write(axes, x, y + 8, f"{tick:.4g}", color=MUTED, fontsize=10.5, ha=align)
    for bar, lines, row in zip(bars, names, rows, strict=True):
        for i, line in enumerate(lines):
            write(axes, 2, row + 8 + 15 * i, line, fontsize=11)
        sign = "+" if zero else ""
        text = f"{bar.value:{sign}.3f} [{bar.low:{sign}.2f}, {bar.high:{sign}.2f}]"
        write(axes, WIDTH - 2, row + 8, text, fontsize=11, ha="right")
        middle = row + 15 * len(lines) + 8
        rule(axes, [left, right], [middle] * 2, LINE, linewidth=0.8)
        rule(axes, [at(bar.low), at(bar.high)], [middle] * 2, bar.colour, linewidth=3)
        rule(axes, [at(bar.value)], [middle], bar.colour, marker="o", markersize=8)
    return figure


def _panels(evidence: Evidence, found: dict[str, list[Bar]], told: str, zero: bool) -> list[str]:
    """A forest plot a split, all on one scale."""
    values = [x for bars in found.values() for bar in bars for x in (bar.low, bar.high, bar.value)]
    if not values:
        return []
    low, high = min(values + [0.0] * zero), max(values + [0.0] * zero)
    margin = (high - low) * 0.05 or 0.05
    titles = {s: f"{s}: {words.split_words(evidence, s)}" for s, bars in found.items() if bars}
    return [
        svg(partial(_forest, title, found[split], (low - margin, high + margin), zero),
            f"{told[:4]} {split}", f"{title}. {told}")
        for split, title in titles.items()
    ]  # fmt: skip


def loss_charts(evidence: Evidence) -> list[str]:
    """Bits per byte of every model and baseline, a panel a split, best first."""
    found = {
        split: [
            Bar(view.label(evidence, row.model), row.bits_per_byte, *row.ci95,
                _colour(evidence, row.model))
            for row in view.losses(evidence, split)
        ]
        for split in view.splits(evidence)
    }  # fmt: skip
    told = "Bits per byte with 95 % intervals, best first. The table below has the numbers."
    return _panels(evidence, found, told, zero=False)


def gap_charts(evidence: Evidence) -> list[str]:
    """Paired gaps with intervals, a panel a split, with the line of no difference."""
    gaps = sorted(evidence.gaps, key=lambda row: row.bits_per_byte)
    found = {
        split: [
            Bar(" against ".join(view.short_label(evidence, name) for name in (row.a, row.b)),
                row.bits_per_byte, *row.ci95, _colour(evidence, row.a))
            for row in gaps
            if row.split == split
        ]
        for split in view.splits(evidence)
    }  # fmt: skip
    told = "Paired differences in bits per byte with 95 % intervals; the table has the numbers."
    return _panels(evidence, found, told, zero=True)


def _colour(evidence: Evidence, name: str) -> str:
    model = evidence.models.get(name)
    return ROLES[model.role] if model else BASELINE


def _smooth(points: Sequence[CurvePoint]) -> list[tuple[float, float]]:
    """Moving average over a fiftieth of the run, thinned to at most 240 points."""
    span, value, found = max(1, len(points) // 50), points[0].loss, []
    for point in points:
        value += (point.loss - value) * 2 / (span + 1)
        found.append((float(point.tokens), value))
    return found[:: -(-len(found) // 240)] + found[-1:]


def _lines(title: str, lines: dict[str, Any], evidence: Evidence) -> Figure:
    """One panel of curves against tokens, each named at its end."""
    figure, axes = canvas(WIDTH, 270)
    left, right, top, bottom = 34.0, WIDTH - 100, 42.0, 238.0
    points = [p for line in lines.values() for p in line]
    low, high = min(y for _, y in points), max(y for _, y in points)
    low, high = low - (high - low or 1) * 0.05, high + (high - low or 1) * 0.05
    last = max(x for x, _ in points) or 1.0
    write(axes, 2, 15, title, fontsize=12, fontweight="bold")
    for tick in _ticks(low, high):
        y = bottom - (tick - low) / (high - low) * (bottom - top)
        rule(axes, [left, right], [y, y], LINE)
        write(axes, left - 8, y, f"{tick:.3g}", color=MUTED, fontsize=10.5, ha="right")
    for tick in _ticks(0, last, 3):
        x = left + tick / last * (right - left)
        write(axes, x, bottom + 16, words.short(tick), color=MUTED, fontsize=10.5, ha="center")
    write(axes, WIDTH - 4, bottom + 16, "tokens", color=MUTED, fontsize=10.5, ha="right")
    taken: list[float] = []
    for name, line in sorted(lines.items(), key=lambda item: item[1][-1][1]):
        colour = _colour(evidence, name)
        xs = [left + x / last * (right - left) for x, _ in line]
        ys = [bottom - (y - low) / (high - low) * (bottom - top) for _, y in line]
        rule(axes, xs, ys, colour, linewidth=2, marker="o" if len(line) < 12 else None, ms=4)
        y = ys[-1]
        while any(abs(y - other) < 14 for other in taken):
            y -= 1
        taken.append(y)
        tag = f"{name if len(name) < 11 else name[:9] + '…'} {line[-1][1]:.2f}"
        write(axes, min(xs[-1], right) + 8, y, tag, color=colour, fontsize=11)
    return figure


def training_charts(evidence: Evidence) -> list[str]:
    """Validation bits per byte and smoothed training loss, against tokens."""
    train: dict[str, Any] = {}
    validation: dict[str, Any] = {}
    for name in view.arms(evidence):
        points = [p for p in evidence.curves if p.model == name]
        if points:
            train[name] = _smooth(points)
        measured = [
            (float(p.tokens), p.validation_bits_per_byte)
            for p in points
            if p.validation_bits_per_byte is not None
        ]
        if measured:
            validation[name] = measured
    told = " ".join(words.curve(evidence, name) for name in train)
    titles = ("Validation, bits per byte", "Training loss, smoothed, nats a token")
    return [
        svg(partial(_lines, title, lines, evidence), title, f"{title}. {told}")
        for title, lines in zip(titles, (validation, train), strict=True)
        if lines
    ]
