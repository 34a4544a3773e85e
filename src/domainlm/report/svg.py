"""Inline SVG by hand: text stays text, and colours are classes of the page's style sheet.

A drawing's units are those of its viewBox. It is as wide as the page lets it be, so its width is
a phone's: on a desk everything in it is larger.
"""

import dataclasses
import math
from collections.abc import Sequence

from markupsafe import Markup, escape

Point = tuple[float, float]


@dataclasses.dataclass
class Drawing:
    """Elements in the order in which they are painted; `colour` is a class name."""

    width: float
    height: float
    parts: list[str] = dataclasses.field(default_factory=list)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        colour: str = "ink",
        size: float = 13,
        anchor: str = "start",
        bold: bool = False,
    ) -> None:
        """One line of text, whatever it holds, its baseline at `y`."""
        weight = ' font-weight="600"' if bold else ""
        self.parts.append(
            f'<text class="{colour}" x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" '
            f'text-anchor="{anchor}"{weight}>{escape(text)}</text>'
        )

    def line(self, points: Sequence[Point], colour: str, width: float = 1, dash: str = "") -> None:
        """A line through points."""
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        self.parts.append(
            f'<path class="{colour}" d="M{path}" stroke-width="{width:g}"{dashed}></path>'
        )

    def dot(
        self, x: float, y: float, colour: str, *, hollow: bool = False, title: str = ""
    ) -> None:
        """A point; hollow where it shows less. `title` appears under the mouse."""
        kind = " hollow" if hollow else ""
        told = f"<title>{escape(title)}</title>" if title else ""
        self.parts.append(
            f'<circle class="{colour}{kind}" cx="{x:.1f}" cy="{y:.1f}" r="4.5">{told}</circle>'
        )

    def band(self, x: float, y: float, width: float, height: float, colour: str) -> None:
        """A pale rectangle, such as an interval that goes through the whole panel."""
        self.parts.append(
            f'<rect class="{colour}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" '
            f'height="{height:.1f}" opacity=".13"></rect>'
        )

    def markup(self, description: str) -> Markup:
        """The `<svg>`; `description` is what it says to who does not see it."""
        head = f'<svg viewBox="0 0 {self.width:g} {self.height:g}" role="img" aria-label="'
        return Markup(f'{head}{escape(description)}">{"".join(self.parts)}</svg>')


def ticks(low: float, high: float, number: int = 4) -> list[float]:
    """Round values within [low, high], steps of 1, 2 or 5 times a power of ten, about `number`."""
    span = (high - low) / number
    if not span > 0 or not math.isfinite(span):
        return [low]
    power = 10.0 ** math.floor(math.log10(span))
    step = next(power * n for n in (1, 2, 5, 10) if power * n >= span * 0.999)
    return [n * step for n in range(math.ceil(low / step), math.floor(high / step) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten within [low, high]; with 2 and 5 times them, or as `ticks`, where too few."""
    powers = [10.0**n for n in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]
    found = [p for p in powers if low <= p <= high]
    if len(found) > 2:
        return found
    found = [v for p in powers for n in (1, 2, 5) if low <= (v := n * p) <= high]
    return found if len(found) > 1 else ticks(low, high, 2) or [low]


def spread(places: Sequence[float], least: float) -> list[float]:
    """`places` in their order, moved apart so that no two are nearer than `least`."""
    found: list[float] = []
    for place in sorted(places):
        found.append(max(place, found[-1] + least) if found else place)
    moved = dict(zip(sorted(range(len(places)), key=lambda n: places[n]), found, strict=True))
    return [moved[n] for n in range(len(places))]
