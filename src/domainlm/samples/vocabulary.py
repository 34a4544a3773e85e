"""The words of a fictional 10-K, all of it invented: `words/*.txt`, read as grammars.

`phrases.txt` is shared by all industries and `topics.txt` has the sentences by topic. Symbols that
end in `_up` and `_down` are chosen by the direction of a figure, symbols that end in a subject of
`RISKS` by the risk at hand. `@name@` is a figure of the year (`company.phrases`). In
`industries.txt` products, customers, sites, assets and drivers read as plurals or bare nouns,
inputs as bare nouns: the sentences are written so that no verb has to agree with them.
"""

import dataclasses
from importlib import resources

from domainlm.samples.grammar import parse

RISKS = ("supply", "demand", "rivals", "rules", "people", "data", "debt", "claims")


@dataclasses.dataclass(frozen=True)
class Industry:
    """A line of business: its SIC code and title, and its words by symbol."""

    code: str
    title: str
    words: dict[str, tuple[str, ...]]


def _words(name: str) -> str:
    return (resources.files("domainlm.samples") / "words" / f"{name}.txt").read_text("utf-8")


def _industries() -> tuple[Industry, ...]:
    found: list[tuple[str, list[str]]] = []
    for line in _words("industries").splitlines():
        if line[:4].isdigit():
            found.append((line, []))
        else:
            found[-1][1].append(line)
    return tuple(Industry(head[:4], head[5:], parse("\n".join(body))) for head, body in found)


PHRASES = parse(_words("phrases"))
TOPICS = parse(_words("topics"))
INDUSTRIES = _industries()
NAMES = parse(_words("names"))
