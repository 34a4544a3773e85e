"""The same paragraph as each model reads it: pieces with the probability that each one had.

The pieces are the model's tokens, so two models' pieces differ; their nats add up over the same
characters, and words can be compared.
"""

import bisect
import dataclasses
import itertools
import math
import re
from collections.abc import Iterator, Sequence

from domainlm.console import clean
from domainlm.evaluation.evidence import Evidence, Reading
from domainlm.report import view
from domainlm.report.numbers import chance

LEVELS = (0.5, 0.1, 0.01, 0.001)  # probability: at least this is level 0, 1, 2, 3; less is 4
SURPRISES, AROUND = 6, 3  # words listed of a text, words before each
PIECES = 9_000  # shown on the page at most; what is over is in the file


@dataclasses.dataclass(frozen=True)
class Piece:
    """A token: its text, how surprising (0 to 4), and what the reader is told of it."""

    text: str
    level: int
    told: str


@dataclasses.dataclass(frozen=True)
class Block:
    """One model's reading: the opening it was given, then what really follows."""

    model: str
    bits_per_byte: float | None  # of what follows
    opening: list[Piece]
    rest: list[Piece]


@dataclasses.dataclass(frozen=True)
class Word:
    """A word of what follows, and the nats that each of two models needs for it."""

    text: str
    before: str
    nats: tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Page:
    """A prompt as all models read it; `words` are those on which the first two differ most."""

    prompt: view.Prompt
    blocks: list[Block]
    words: list[Word]


def pages(
    evidence: Evidence, prompts: Sequence[view.Prompt], readings: Sequence[Reading]
) -> tuple[list[Page], int]:
    """The prompts that were read, in their order, up to `PIECES`; and how many are left out."""
    order = ["stock", *view.arms(evidence)]
    found, room, left = [], PIECES, 0
    for prompt in prompts:
        of = {r.model: r for r in readings if r.prompt_id == prompt.prompt_id}
        ranked = sorted(of, key=lambda m: order.index(m) if m in order else len(order))
        size = sum(len(r.ends) for r in of.values())
        if size > room:
            left += 1
        elif ranked:
            room -= size
            blocks = [block(of[model], len(prompt.prompt)) for model in ranked]
            words = differences(of[ranked[0]], of[ranked[1]], len(prompt.prompt)) if (
                len(ranked) > 1
            ) else []  # fmt: skip
            found.append(Page(prompt, blocks, words))
    return found, left


def level(nats: float) -> int:
    """How surprising a token is: 0, it was likelier than not, to 4, less than one in 1,000."""
    return sum(math.exp(-nats) < least for least in LEVELS)


def legend() -> list[str]:
    """What the levels mean, 0 to 4."""
    names = [chance(-math.log(least)) for least in LEVELS]
    between = [f"{low} to {high}" for high, low in itertools.pairwise(names)]
    return [f"{names[0]} or more", *between, f"less than {names[-1]}"]


def _parts(reading: Reading) -> Iterator[tuple[int, int, float, list[tuple[str, float]]]]:
    """(start, end, nats, alternatives); tokens of a part of a character join the next one."""
    start, nats = 0, 0.0
    for end, cost, others in zip(reading.ends, reading.nats, reading.alternatives, strict=True):
        nats += cost
        if end > start:
            yield start, end, nats, others
            start, nats = end, 0.0


def block(reading: Reading, opening: int) -> Block:
    """A reading as pieces; a token that crosses the end of the opening belongs to it."""
    pieces: tuple[list[Piece], list[Piece]] = [], []
    spent, cut = 0.0, 0
    for start, end, nats, others in _parts(reading):
        told = ", ".join(f"{_shown(text)} {chance(-math.log(p))}" for text, p in others if p > 0)
        piece = Piece(
            clean(reading.text[start:end]), level(nats), f"{chance(nats)} · likeliest: {told}"
        )
        pieces[start >= opening].append(piece)
        if start >= opening:
            spent += nats
        else:
            cut = end
    size = len(reading.text[cut:].encode())
    bits = spent / (math.log(2) * size) if size else None
    return Block(reading.model, bits, *pieces)


def _shown(text: str) -> str:
    """A token in quotes, line ends made visible."""
    return f"“{clean(text.replace(chr(10), '↵'))}”"


def word_nats(reading: Reading, opening: int) -> dict[tuple[int, int], float]:
    """Nats of each word after the opening, by its place; a token is of the word it ends in."""
    words = [m.span() for m in re.finditer(r"\S+", reading.text) if m.start() >= opening]
    starts = [start for start, _ in words]
    found = dict.fromkeys(words, 0.0)
    for start, end, nats, _ in _parts(reading):
        last = start + len(reading.text[start:end].rstrip()) - 1
        number = bisect.bisect_right(starts, last) - 1
        if last >= start and number >= 0 and last < words[number][1]:
            found[words[number]] += nats
    return found


def differences(first: Reading, second: Reading, opening: int) -> list[Word]:
    """The words for which the two models' nats differ most, in reading order."""
    a, b = word_nats(first, opening), word_nats(second, opening)
    common = [place for place in a if place in b]
    most = sorted(common, key=lambda place: -abs(a[place] - b[place]))[:SURPRISES]
    return [
        Word(
            clean(first.text[start:end]),
            clean(" ".join(first.text[:start].split()[-AROUND:])),
            (a[start, end], b[start, end]),
        )
        for start, end in sorted(most)
    ]
