"""Blind votes: who wrote what is known to the server alone until the vote is cast.

Votes are lines of `playground/votes.jsonl` in the run, each with both texts and the hashes of both
models' weights, so that a tally never mixes votes on different weights.
"""

import dataclasses
import datetime
import fcntl
import json
import os
import secrets
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from domainlm.errors import DomainLMError

CHOICES = ("A", "B", "tie", "both bad")
OPEN = 500  # ballots that may be without a vote


@dataclasses.dataclass
class Ballot:
    """Two anonymous continuations: `models` are name and sha256 of A and of B."""

    models: Sequence[tuple[str, str]]
    facts: Mapping[str, Any]  # prompt, seed and the like, for the line
    texts: list[str] = dataclasses.field(default_factory=lambda: ["", ""])
    whole: bool = False  # both were written to their end


class Ballots:
    """Ballots by their tickets; the oldest is forgotten where too many have no vote."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open: OrderedDict[str, Ballot] = OrderedDict()

    def issue(self, ballot: Ballot) -> str:
        """A ticket that cannot be guessed."""
        ticket = secrets.token_urlsafe(16)
        self._open[ticket] = ballot
        while len(self._open) > OPEN:
            self._open.popitem(last=False)
        return ticket

    def cast(self, ticket: str, vote: str) -> list[str]:
        """Save a vote (once a ticket) and say who A and B are; raises KeyError, ValueError."""
        ballot = self._open[ticket]
        if not ballot.whole:
            raise ValueError("vote when both texts are whole")
        winner = {"A": ballot.models[0][0], "B": ballot.models[1][0]}.get(vote)
        row: dict[str, Any] = {
            "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "vote": vote,
            "winner": winner,
            **ballot.facts,
        }
        for side, (name, sha256), text in zip("ab", ballot.models, ballot.texts, strict=True):
            row[side] = {"model": name, "sha256": sha256, "text": text}
        append(self._path, row)
        del self._open[ticket]
        return [name for name, _ in ballot.models]


def append(path: Path, row: Mapping[str, Any]) -> None:
    """Add one line of JSON, whole and on disk, whoever else appends at the same time.

    A line that a crash left without its end is closed first, so that it spoils no other.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab+", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        torn = file.read(1) not in {b"", b"\n"}
        line = (("\n" if torn else "") + json.dumps(row) + "\n").encode()
        try:
            if file.write(line) != len(line):
                raise OSError("no room left on the disk")
            os.fsync(file.fileno())
        except OSError as error:
            file.truncate(size)
            raise DomainLMError(
                "a vote could not be saved", where=str(path), why=str(error)
            ) from error


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The votes of a file, without lines that are not whole."""
    if not path.is_file():
        return
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                row = json.loads(line)
                sides = [(row[side]["model"], row[side]["sha256"]) for side in "ab"]
            except (ValueError, KeyError, TypeError):
                continue
            if row.get("vote") in CHOICES and all(isinstance(x, str) for s in sides for x in s):
                yield row


def tally(path: Path, hashes: Mapping[str, str]) -> list[dict[str, Any]]:
    """Votes a pair of models: wins of `a` and `b`, ties, both bad, share of `a` and its interval.

    Only votes on the weights of `hashes` (name -> sha256) count; `others` is how many more there
    are of the same pair. The share is of the votes that chose one (Wilson 1927, 95 %).
    """
    pairs: dict[tuple[str, str], dict[str, Any]] = {}
    for row in read(path):
        names = sorted((row["a"]["model"], row["b"]["model"]), key=lambda n: (n == "stock", n))
        counts = pairs.setdefault(
            (names[0], names[1]),
            {"a": names[0], "b": names[1], "wins_a": 0, "wins_b": 0, "ties": 0, "bad": 0,
             "others": 0},
        )  # fmt: skip
        if any(hashes.get(row[side]["model"]) != row[side]["sha256"] for side in "ab"):
            counts["others"] += 1
        elif row["vote"] in {"A", "B"}:
            chosen = row["a" if row["vote"] == "A" else "b"]["model"]
            counts["wins_a" if chosen == names[0] else "wins_b"] += 1
        else:
            counts["ties" if row["vote"] == "tie" else "bad"] += 1
    for counts in pairs.values():
        decided = counts["wins_a"] + counts["wins_b"]
        counts["share"] = counts["wins_a"] / decided if decided else None
        counts["ci95"] = wilson(counts["wins_a"], decided) if decided else None
    return list(pairs.values())


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """The 95 % Wilson score interval of a share (Wilson 1927)."""
    from scipy.stats import binomtest

    found = binomtest(successes, trials).proportion_ci(0.95, "wilson")
    return float(found.low), float(found.high)
