"""From numbers to words: what a figure looks like wherever it stands.

A per cent is always of one named thing. Loss, perplexity and bits are different things: a loss
that falls from 4.5 to 3.2 nats is 28.9 % less loss, and 72.7 % lower perplexity.
"""

import math

NOT_MEASURED = "not measured"
_UNITS = ((1e9, "B"), (1e6, "M"), (1e3, "k"))


def percent(share: float) -> str:
    """A share as per cent: one decimal, none from 100 % on, and never a bare zero."""
    size = abs(share) * 100
    if 0 < size < 0.05:
        return "less than 0.1 %"
    return f"{size:,.0f} %" if size >= 99.95 else f"{size:.1f} %"


def _change(new: float, old: float, less: str, more: str) -> str:
    if not old > 0:
        return "no comparison possible"
    if new == old:
        return "no change"
    return f"{percent(new / old - 1)} {less if new < old else more}"


def less_loss(old: float, new: float) -> str:
    """A change of loss in nats, as per cent of the loss."""
    return _change(new, old, "less loss", "more loss")


def perplexity_change(old: float, new: float) -> str:
    """A change of loss in nats, as per cent of the perplexity exp(loss)."""
    return _change(math.exp(min(new - old, 700.0)), 1.0, "lower perplexity", "higher perplexity")


def fewer_bits(old: float, new: float) -> str:
    """A change of bits per byte, as per cent of the bits."""
    return _change(new, old, "fewer bits", "more bits")


def count(number: int | None) -> str:
    """A whole number with thousands separators."""
    return NOT_MEASURED if number is None else f"{number:,}"


def ends(ci95: tuple[float, float] | None, value: float = 0.0) -> tuple[float, float]:
    """The ends of an interval; `value` twice where all is of one group, which has none."""
    return ci95 or (value, value)


def between(ci95: tuple[float, float] | None, form: str = ".3f") -> str:
    """An interval in words."""
    if ci95 is None:
        return "no interval, all of one group"
    return f"95 % interval {ci95[0]:{form}} to {ci95[1]:{form}}"


def plural(number: int, one: str, many: str) -> str:
    """`1 company`, `2 companies`."""
    return f"{number:,} {one if number == 1 else many}"


def short(number: float | None) -> str:
    """A large number in three digits: 135M, 1.9M, 320k."""
    if number is None:
        return NOT_MEASURED
    for unit, letter in _UNITS:
        if number >= unit * 0.9995:
            scaled = number / unit
            return f"{scaled:.0f}{letter}" if scaled >= 9.95 else f"{scaled:.1f}{letter}"
    return f"{number:.0f}"


def size(number: int) -> str:
    """Bytes in decimal units."""
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "KB")):
        if number >= unit:
            return f"{number / unit:.1f} {name}"
    return plural(number, "byte", "bytes")


def duration(seconds: float) -> str:
    """Seconds as a person says them: seconds, minutes or hours."""
    if seconds < 90:
        return f"{seconds:.1f} seconds" if seconds < 9.95 else f"{seconds:.0f} seconds"
    if seconds < 5400:
        return f"{seconds / 60:.1f} minutes"
    return f"{seconds / 3600:.1f} hours"


def brief(seconds: float) -> str:
    """Seconds for the tick of a chart."""
    for unit, letter in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{seconds / unit:.3g} {letter}"
    return f"{seconds:.3g} s"


def rounded(share: float) -> str:
    """A share as whole per cent."""
    return f"{share:.0%}".replace("%", " %")


def chance(nats: float) -> str:
    """The probability exp(-nats): in per cent, or as one in so many where it is small."""
    share = math.exp(-nats)
    if share >= 0.0095:
        return rounded(share)
    return f"1 in {float(f'{math.exp(min(nats, 60.0)):.2g}'):,.0f}"


def passes(epochs: float) -> str:
    """How often train was read; few tokens of a large corpus are not none."""
    return f"{epochs:.2f}" if epochs >= 0.095 else f"{epochs:.2g}"


def capital(text: str) -> str:
    """`text` with its first letter large."""
    return text[:1].upper() + text[1:]
