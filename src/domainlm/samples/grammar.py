"""The sentence engine: symbols, their alternatives, and a writer that remembers last year's text.

A grammar maps a symbol to its productions. In a production `{name}` stands for one alternative of
that symbol, `[a|b]` for one of the parts, and `@name@` for a figure, which is filled in afterwards:
so that a sentence can be carried over to the next year while its figures move on.
"""

import random
import re
from collections.abc import Callable, Mapping, Sequence

Grammar = Mapping[str, Sequence[str]]

_RULE = re.compile(r"^(\w+):", re.MULTILINE)
_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_SYMBOL = re.compile(r"\{(\w+)\}")
_FIGURE = re.compile(r"@(\w+)@")
_ARTICLE = re.compile(r"\b([Aa]) (?=(?!(?:one|uni|use|eur))[aeiou])", re.IGNORECASE)

_SMALL = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "twelve")
_NUMBERS: dict[str, Callable[[random.Random], str]] = {
    "small": lambda rng: rng.choice(_SMALL),
    "count": lambda rng: f"{rng.randrange(130, 9000, 10):,}",
    "pct": lambda rng: f"{rng.randint(2, 48)}%",
    "point": lambda rng: f"{rng.randint(11, 89) / 10}%",
    "money": lambda rng: f"${rng.randint(11, 189) / 10} million",
    "year": lambda rng: str(rng.randint(2005, 2014)),
}


def parse(text: str) -> dict[str, tuple[str, ...]]:
    """Read `name: a; b; c` rules; productions may also stand on lines that begin with a dash."""
    parts = _RULE.split(text)[1:]
    return {
        name: tuple(" ".join(p.split()) for p in re.split(r";|\n- ", body) if p.strip())
        for name, body in zip(parts[::2], parts[1::2], strict=True)
    }


def expand(production: str, grammar: Grammar, rng: random.Random) -> str:
    """Derive one sentence or phrase; a symbol does not take the same alternative twice in it."""
    used: set[str] = set()

    def choose(match: re.Match[str]) -> str:
        return rng.choice(str(match[1]).split("|"))

    def derive(match: re.Match[str]) -> str:
        name = str(match[1])
        if name in _NUMBERS:
            return _NUMBERS[name](rng)
        fresh = [p for p in grammar[name] if p not in used] or grammar[name]
        chosen = rng.choice(fresh)
        used.add(chosen)
        return chosen

    text = production
    while "[" in text or "{" in text:
        text = _CHOICE.sub(choose, text)
        text = _SYMBOL.sub(derive, text)
    text = _ARTICLE.sub(r"\1n ", text)
    return text[:1].upper() + text[1:]


class Writer:
    """Writes a company's paragraphs, year after year, carrying most sentences over."""

    def __init__(self, grammar: Grammar, rng: random.Random, keep: float) -> None:
        self.grammar, self.rng, self.keep = grammar, rng, keep
        self.figures: Mapping[str, str] = {}
        self._memory: dict[str, list[tuple[str, str, str]]] = {}

    def paragraph(self, topic: str, low: int, high: int, *, tone: str = "", about: str = "") -> str:
        """Write `low` to `high` sentences of `topic`, or revise those of last year.

        `tone` (`up`, `down`) and `about` (a subject) select symbols such as `reason_up`. A change
        of tone always rewrites the sentence: reasons for growth do not explain a decline.
        """
        productions = self.grammar[topic]
        grammar = dict(self.grammar)
        for suffix in (f"_{tone}", f"_{about}"):
            if suffix != "_":
                named = [name for name in self.grammar if name.endswith(suffix)]
                grammar |= {name.removesuffix(suffix): self.grammar[name] for name in named}
        state = self._memory.get(topic + about)
        if state is None:
            size = min(self.rng.randint(low, high), len(productions))
            order = sorted(self.rng.sample(range(len(productions)), size))
            state = [(productions[i], tone, "") for i in order]
        revised: list[tuple[str, str, str]] = []
        for production, old_tone, sentence in state:
            text = sentence
            if not text or old_tone != tone or self.rng.random() > self.keep:
                taken = {p for p, _, _ in state} | {p for p, _, _ in revised}
                spare = [p for p in productions if p not in taken]
                if text and spare and self.rng.random() < 0.3:
                    production = self.rng.choice(spare)
                text = expand(production, grammar, self.rng)
            revised.append((production, tone, text))
        self._memory[topic + about] = revised
        return self.fill(" ".join(text for _, _, text in revised))

    def fill(self, text: str) -> str:
        """Put this year's figures in the place of `@name@`."""
        return _FIGURE.sub(lambda match: self.figures[match[1]], text)
