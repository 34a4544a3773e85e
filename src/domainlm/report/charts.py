"""The report's charts: each a list of `<svg>` panels made for one question, labelled directly."""

import dataclasses
import math
import textwrap
from collections.abc import Callable, Sequence

from markupsafe import Markup

from domainlm.evaluation.evidence import Evidence, Loss, SliceGap
from domainlm.report import findings, numbers, view, words
from domainlm.report.svg import Drawing, Point, log_ticks, spread, ticks

WIDTH = 360.0  # of a panel
NAME, LINE = 32, 16.0  # characters of a name on a line, height of the line
SLICES = 14  # rows of a panel
FAR = 3  # times the best: a baseline with more bits is not drawn
CLOCK = [n * unit for unit, numbers in (
    (1, (1, 2, 5, 10, 30)), (60, (1, 2, 5, 10, 30)), (3_600, (1, 2, 5, 12)),
    (86_400, (1, 2, 5, 10, 30, 90)),
) for n in numbers]  # fmt: skip


Level = tuple[str, float, float, float]  # name, value, low, high


@dataclasses.dataclass(frozen=True)
class Bar:
    """One row of a forest plot; without an interval `low` and `high` are the value."""

    label: str
    value: float
    low: float
    high: float
    colour: str
    hollow: bool = False


def colour(evidence: Evidence, name: str) -> str:
    """A model's class: its role; what is no model of the run has that of the baselines."""
    model = evidence.models.get(name)
    return model.role if model else "baseline"


def forest(title: str, bars: Sequence[Bar], ends: tuple[float, float], zero: bool) -> Drawing:
    """One panel: name and value on one line, the interval below; a line where zero is."""
    left, right, head = 6.0, WIDTH - 6, 34.0
    most = NAME - 4 * zero  # where numbers have signs
    names = [textwrap.wrap(bar.label, most) or [""] for bar in bars]
    titles = textwrap.wrap(title, 50)
    rows, y = [], head + LINE * (len(titles) - 1)
    for lines in names:
        rows.append(y)
        y += LINE * len(lines) + 28
    drawing = Drawing(WIDTH, y + 22)

    def at(value: float) -> float:
        return left + (value - ends[0]) / (ends[1] - ends[0]) * (right - left)

    for number, line in enumerate(titles):
        drawing.text(0, 14 + LINE * number, line, bold=True)
    for tick in ticks(*ends):
        x, strong = at(tick), zero and abs(tick) < 1e-12
        for row, lines in zip(rows, names, strict=True):  # not through the names
            middle = row + LINE * len(lines) + 5
            drawing.line([(x, middle - 7), (x, middle + 7)], "muted" if strong else "faint")
        anchor = "start" if x < 22 else "end" if x > WIDTH - 22 else "middle"
        drawing.text(x, y + 12, f"{tick:.4g}", colour="muted", size=12, anchor=anchor)
    sign = "+" if zero else ""
    for bar, lines, row in zip(bars, names, rows, strict=True):
        for number, line in enumerate(lines):
            drawing.text(0, row + 10 + LINE * number, line)
        value, middle = f"{bar.value:{sign}.3f}", row + LINE * len(lines) + 5
        between = f" [{bar.low:{sign}.2f}, {bar.high:{sign}.2f}]" if bar.low < bar.high else ""
        drawing.text(WIDTH, row + 10, value + between, anchor="end")
        drawing.line([(left, middle), (right, middle)], "faint")
        drawing.line([(at(bar.low), middle), (at(bar.high), middle)], bar.colour, 3)
        drawing.dot(at(bar.value), middle, bar.colour, hollow=bar.hollow,
                    title=f"{bar.label}: {value}{between}")  # fmt: skip
    return drawing


def _panels(found: dict[str, list[Bar]], told: str, zero: bool) -> list[Markup]:
    """A forest plot a title, all on one scale; `told` ends every description."""
    values = [x for bars in found.values() for bar in bars for x in (bar.low, bar.high, bar.value)]
    if not values:
        return []
    low, high = min(values + [0.0] * zero), max(values + [0.0] * zero)
    margin = (high - low) * 0.04 or 0.05
    return [
        forest(title, bars, (low - margin, high + margin), zero).markup(f"{title}. {told}")
        for title, bars in found.items()
        if bars
    ]


def _titled(evidence: Evidence, split: str) -> str:
    return f"{split}: {words.split_words(evidence, split)}"


def loss_charts(evidence: Evidence) -> list[Markup]:
    """Bits per byte of every model and baseline, a panel a split, best first."""
    found = {
        _titled(evidence, split): [
            Bar(", ".join(filter(None, [view.short_label(evidence, row.model),
                                        view.part(evidence, row)])),
                row.bits_per_byte, *numbers.ends(row.ci95, row.bits_per_byte),
                colour(evidence, row.model))
            for row in _near(evidence, view.losses(evidence, split))
        ]
        for split in view.splits(evidence)
    }  # fmt: skip
    told = "Bits per byte with 95 % intervals, best first. The table below has all numbers."
    return _panels(found, told, zero=False)


def _near(evidence: Evidence, rows: Sequence[Loss]) -> list[Loss]:
    """Without the baselines so far behind that their scale would hide all differences."""
    best = min((row.bits_per_byte for row in rows), default=0.0)
    return [
        row for row in rows
        if colour(evidence, row.model) != "baseline"
        or (row.model != "uniform" and row.bits_per_byte <= FAR * best)
    ]  # fmt: skip


def gap_charts(evidence: Evidence) -> list[Markup]:
    """Paired gaps with intervals, a panel a split, with the line of no difference.

    Those of models with each other, and with the two best baselines.
    """
    rivals = {s: [r.model for r in view.best_baselines(evidence, s)[:2]]
              for s in view.splits(evidence)}  # fmt: skip
    gaps = [
        row for row in sorted(evidence.gaps, key=lambda row: row.bits_per_byte)
        if colour(evidence, row.b) != "baseline" or row.b in rivals.get(row.split, ())
    ]  # fmt: skip
    found = {
        _titled(evidence, split): [
            Bar(f"{view.short_label(evidence, row.a)} against {view.short_label(evidence, row.b)}",
                row.bits_per_byte, *numbers.ends(row.ci95, row.bits_per_byte),
                colour(evidence, row.a),
                hollow=not words.shown(row))
            for row in gaps if row.split == split
        ]
        for split in view.splits(evidence)
    }  # fmt: skip
    told = "Paired differences in bits per byte with 95 % intervals; the table has all."
    return _panels(found, told, zero=True)


def slice_charts(evidence: Evidence) -> list[Markup]:
    """The headline's gap again by section, year, novelty and kind, on one scale."""
    found = {}
    for by, rows in view.slice_gaps(evidence).items():
        most = sorted(rows, key=lambda r: -r.documents)[:SLICES]
        found[words.BY[by]] = [_slice(evidence, r) for r in rows if r in most]
    told = "Differences in bits per byte, with 95 % intervals; left of zero the first is better."
    return _panels(found, told, zero=True)


def _slice(evidence: Evidence, row: SliceGap) -> Bar:
    bits = row.bits_per_byte
    ends = numbers.ends(row.ci95, bits)
    return Bar(words.slice_label(row), bits, *ends, colour(evidence, row.a),
               hollow=not words.shown(row))  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Curve:
    """A line of a chart, named at its end; `dots` marks each point."""

    label: str
    colour: str
    points: Sequence[Point]
    dots: bool = False


def lines(
    title: str,
    curves: Sequence[Curve],
    below: str,
    tell: Callable[[float], str],
    *,
    log: bool = False,
    level: Level | None = None,
    number: str = ".2f",
    marks: Sequence[float] = (),
) -> Drawing:
    """One panel of curves over x, `below` named under it; `level` is a line through it all.

    `tell` writes a value of x; `level` is drawn in the stock's colour;
    `marks` are ticks of x, if round numbers are not the ones to show.
    """
    left, right, top, bottom, height = 38.0, WIDTH - 122, 32.0, 252.0, 290.0
    xs = [x for curve in curves for x, _ in curve.points]
    ys = [y for curve in curves for _, y in curve.points] + list(level[1:] if level else ())
    pad = (max(ys) - min(ys) or 0.1) * 0.08
    low, high = min(ys) - pad, max(ys) + pad
    room = 2.0 if max(xs) < 4 * min(xs) else 1.1
    first, last = (min(xs) / room, max(xs) * room) if log else (0.0, max(xs) or 1.0)
    scale = math.log if log else float
    drawing = Drawing(WIDTH, height)

    def place(x: float, y: float) -> Point:
        share = (scale(x) - scale(first)) / (scale(last) - scale(first))
        return left + share * (right - left), bottom - (y - low) / (high - low) * (bottom - top)

    drawing.text(0, 14, title, bold=True)
    for tick in ticks(low, high, 5):
        y = place(last, tick)[1]
        drawing.line([(left, y), (right, y)], "faint")
        drawing.text(left - 6, y + 4, f"{tick:.3g}", colour="muted", size=12, anchor="end")
    known = [x for x in marks if first <= x <= last]
    known = known or (log_ticks(first, last) if log else ticks(0, last, 3))
    for tick in known[:: -(-len(known) // 5)]:
        x = place(tick, low)[0]
        drawing.text(x, bottom + 17, tell(tick), colour="muted", size=12, anchor="middle")
    drawing.text((left + right) / 2, height - 4, below, colour="muted", size=12, anchor="middle")
    if level:
        name, value, *ends = level
        floor, roof = (place(last, end)[1] for end in ends)
        drawing.band(left, roof, right - left, floor - roof, "stock")
        y = place(last, value)[1]
        drawing.line([(left, y), (right, y)], "stock", 1.5, "5 4")
        drawing.text(left + 2, y - 6, f"{name} {value:{number}}", colour="stock", size=12)
    tags = []
    for curve in curves:
        points = [place(*point) for point in curve.points]
        drawing.line(points, curve.colour, 2)
        for (x, y), (raw, value) in zip(points, curve.points, strict=True):
            if curve.dots:
                told = f"{curve.label}: {value:{number}} at {tell(raw)}"
                drawing.dot(x, y, curve.colour, title=told)
        tags.append((*points[-1], f"{_cut(curve.label)} {curve.points[-1][1]:{number}}"))
    places = spread([y + 4 for _, y, _ in tags], 15)
    for (x, _, tag), curve, y in zip(tags, curves, places, strict=True):
        drawing.text(x + 9, y, tag, colour=curve.colour, size=12.5)
    return drawing


def _cut(text: str, most: int = 15) -> str:
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def _smooth(values: Sequence[Point]) -> list[Point]:
    """Moving average over a fiftieth of the run, thinned to at most 120 points."""
    span, mean, found = max(1, len(values) // 50), values[0][1], []
    for x, y in values:
        mean += (y - mean) * 2 / (span + 1)
        found.append((x, mean))
    return found[:: -(-len(found) // 120)] + found[-1:]


def training_charts(evidence: Evidence) -> list[Markup]:
    """Validation bits per byte and smoothed training loss, against tokens."""
    train, validation = [], []
    for name in view.arms(evidence):
        points = [p for p in evidence.curves if p.model == name]
        if points:
            smooth = _smooth([(float(p.tokens), p.loss) for p in points])
            train.append(Curve(name, colour(evidence, name), smooth))
        measured = view.validation(evidence, name)
        if measured:
            path = [(float(p.tokens), bits) for p, bits in measured]
            validation.append(Curve(name, colour(evidence, name), path, dots=len(path) < 12))
    told = " ".join(findings.curve(evidence, curve.label) for curve in train)
    titles = ("Validation, bits per byte", "Training loss, smoothed, nats a token")
    return [
        lines(title, curves, "tokens read", words.short).markup(f"{title}. {told}")
        for title, curves in zip(titles, (validation, train), strict=True)
        if curves
    ]


def cost_charts(evidence: Evidence) -> list[Markup]:
    """The finished models by what they cost, and what each was worth along its training."""
    return [drawing for drawing in (cost_chart(evidence), quality_chart(evidence)) if drawing]


def quality_chart(evidence: Evidence) -> Markup | None:
    """Held-out bits per byte along each arm's training, on the first documents of the split."""
    curves, split = [], view.main_split(evidence)
    for name in view.arms(evidence):
        rows = [r for r in evidence.quality if (r.model, r.split) == (name, split)]
        points = [(r.seconds, r.bits_per_byte) for r in rows if r.seconds > 0]
        if points:
            curves.append(Curve(name, colour(evidence, name), points, dots=True))
    if not curves:
        return None
    stock = next((row.level for row in evidence.crossings if row.split == split), None)
    level = None if stock is None else ("stock", stock, stock, stock)
    told = " ".join(findings.crossings(evidence))
    return _by_time("Along the training, on part of the text", curves, level, told)


def cost_chart(evidence: Evidence) -> Markup | None:
    """Held-out bits per byte against training time, arms of one role joined; stock is a level."""
    split = view.main_split(evidence)
    families: dict[str, list[tuple[Point, str]]] = {}
    for name in view.arms(evidence):
        spent, row = view.cost(evidence, name), view.loss(evidence, name, split)
        if spent and row and spent.seconds > 0:
            point = ((spent.seconds, row.bits_per_byte), name)
            families.setdefault(evidence.models[name].role, []).append(point)
    if not families:
        return None
    curves = []
    for role, found in families.items():
        found.sort()
        curves.append(Curve(found[-1][1], role, [point for point, _ in found], dots=True))
    stock = view.loss(evidence, "stock", split)
    bits = stock.bits_per_byte if stock else 0.0
    level = ("stock", bits, *numbers.ends(stock.ci95, bits)) if stock else None
    told = "The dashed line is the stock model. " * bool(stock) + words.spent(evidence)
    return _by_time("Held-out bits per byte, by training time", curves, level, told)


def _by_time(title: str, curves: Sequence[Curve], level: Level | None, told: str) -> Markup:
    return lines(
        title, curves, "training time", numbers.brief,
        log=True, level=level, number=".3f", marks=CLOCK,
    ).markup(f"{title}. {told}")  # fmt: skip


def probe_charts(evidence: Evidence) -> list[Markup]:
    """Accuracy by the labels a class that the classifier had, where there are several numbers."""
    found = []
    for task, by in view.probes(evidence).items():
        curves = [
            Curve(view.short_label(evidence, name), colour(evidence, name), points, dots=True)
            for name, rows in by.items()
            if len(points := [(float(r.labels_per_class), r.accuracy) for r in rows]) > 1
        ]
        if curves:
            title = "Accuracy by labelled passages a class"
            sizes = [x for x, _ in curves[0].points]
            drawing = lines(title, curves, "labelled passages a class", words.short, log=True,
                            marks=sizes)  # fmt: skip
            found.append(drawing.markup(f"{title}: {task}. The table below has the numbers."))
    return found
