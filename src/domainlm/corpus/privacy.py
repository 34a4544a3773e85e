"""Personal data and secrets: found, masked, and shown without giving anyone away."""

import dataclasses
import importlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from domainlm.corpus.recognizers import KINDS, candidates
from domainlm.errors import DomainLMError

Recognizer = Callable[[str], Iterable[tuple[str, int, int]]]


@dataclasses.dataclass(frozen=True)
class Finding:
    """Characters `start` to `end` of a text are of `kind`."""

    kind: str
    start: int
    end: int


def find(
    text: str, kinds: Sequence[str] = KINDS, recognizer: Recognizer | None = None
) -> list[Finding]:
    """What of `kinds`, and of one's own recogniser, stands in `text`: sorted, and disjoint.

    Of two findings that overlap the longer stays; of equal ones one's own, then the kind that is
    last in `KINDS`. Raises DomainLMError where the recogniser fails or gives what is no span.
    """
    found = [Finding(*one) for one in candidates(text, kinds)]
    found += _checked(recognizer, text) if recognizer else []
    rank = {kind: -i for i, kind in enumerate(KINDS)}
    disjoint: list[Finding] = []
    for one in sorted(found, key=lambda f: (f.start, -f.end, rank.get(f.kind, -99), f.kind)):
        if not disjoint or one.start >= disjoint[-1].end:
            disjoint.append(one)
        elif one.end - one.start > disjoint[-1].end - disjoint[-1].start:
            disjoint[-1] = one
    return disjoint


def load_recognizer(name: str) -> Recognizer:
    """The function that `package.module:function` names."""
    module, _, function = name.partition(":")
    where = f"privacy.recognizer = {name!r}"
    fix = "name it package.module:function, and put the package on PYTHONPATH"
    if not module or not function:
        raise DomainLMError("the recogniser has no module or no function", where=where, fix=fix)
    try:
        found = getattr(importlib.import_module(module), function)
    except Exception as error:  # a module may raise anything while it is imported
        why = f"{type(error).__name__}: {error}"
        raise DomainLMError(
            "the recogniser cannot be had", where=where, why=why, fix=fix
        ) from error
    if not callable(found):
        why = f"it is a {type(found).__name__}"
        raise DomainLMError("the recogniser cannot be called", where=where, why=why, fix=fix)
    return found  # type: ignore[no-any-return]


def _checked(recognizer: Recognizer, text: str) -> Iterator[Finding]:
    """The findings of one's own recogniser, each looked at."""
    where = f"privacy.recognizer ({getattr(recognizer, '__qualname__', recognizer)})"
    fix = "give (kind, start, end) with 0 <= start < end <= len(text), in characters"
    try:
        spans = list(recognizer(text))
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        raise DomainLMError("the recogniser failed", where=where, why=why, fix=fix) from error
    for span in spans:
        match span:
            case (str(kind), int(start), int(end)) if kind and 0 <= start < end <= len(text):
                yield Finding(kind, start, end)
            case _:
                why = f"it gave {span!r} for a text of {len(text)} characters"
                raise DomainLMError("the recogniser gave no span", where=where, why=why, fix=fix)


def placeholder(kind: str) -> str:
    """What stands in the text in the place of a finding, such as `[EMAIL]`."""
    return f"[{kind.upper()}]"


def masked(kind: str, value: str) -> str:
    """An example of a finding that gives no one away: its shape, with 4 of its letters at most."""
    if kind == "email":
        local, _, domain = value.partition("@")
        ending = domain.rpartition(".")[2]
        return f"{local[:1]}***@***.{ending if len(ending) < 4 else '***'}"
    if kind == "secret":
        known = value[:4] if re.match(r"A[KS]IA|gh[pousr]_|xox[a-z]-|[rs]k_|AIza", value) else ""
        return f"{known}***"
    if kind in ("phone", "ssn", "card", "ip"):
        return "".join("#" if c.isalnum() else c for c in value)
    return f"{value[:2]}***" if kind == "iban" else "***"
