"""Recipe files: the built-in ones, which are the TOML files here, and one's own.

A fault is an error of one line with the key and a did-you-mean. `--set KEY=VALUE` overrides a
dotted key; VALUE is TOML, a bare word a string.
"""

import difflib
import tomllib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, get_args, get_origin

import pydantic
import tomli_w

from domainlm.errors import USAGE, DomainLMError
from domainlm.recipe import BUDGETS, Recipe


def built_in() -> dict[str, str]:
    """Texts of the recipes that come with the package, by name."""
    folder = resources.files("domainlm.recipes")
    return {
        f.name.removesuffix(".toml"): f.read_text(encoding="utf-8")
        for f in sorted(folder.iterdir(), key=lambda f: f.name)
        if f.name.endswith(".toml")
    }


def load(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """Load a built-in recipe or a TOML file, apply `KEY=VALUE` overrides, validate.

    Raises `DomainLMError` (exit code 2) with one line per fault.
    """
    recipes = built_in()
    if name in recipes:
        text = recipes[name]
    elif Path(name).is_file():
        text = Path(name).read_text(encoding="utf-8")
    else:
        close = difflib.get_close_matches(name, recipes, 1)
        raise DomainLMError(
            f"no recipe {name!r}",
            why="it is neither built in nor a file"
            + "".join(f"; did you mean {near!r}?" for near in close),
            fix="domainlm recipes    (lists them)",
            exit_code=USAGE,
        )
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise DomainLMError(
            "the recipe is not valid TOML", where=name, why=str(error), exit_code=USAGE
        ) from error
    values.setdefault("name", Path(name).stem)
    for override in overrides:
        _override(values, override)
    return validate(values, name)


def validate(values: dict[str, Any], where: str) -> Recipe:
    """Validate recipe values; faults become one `DomainLMError` with a line for each."""
    try:
        return Recipe.model_validate(values)
    except pydantic.ValidationError as error:
        lines = [_fault(e) for e in error.errors()]
        raise DomainLMError(
            "the recipe does not hold:\n" + "\n".join(f"  {line}" for line in lines),
            where=where,
            fix="domainlm recipes show demo    (an example with every part)",
            exit_code=USAGE,
        ) from error


def dump(recipe: Recipe) -> str:
    """The resolved recipe as TOML (keys without a value are left out)."""
    return tomli_w.dumps(recipe.model_dump(exclude_none=True, mode="python"))


def _override(values: dict[str, Any], text: str) -> None:
    key, equals, raw = text.partition("=")
    if not equals or not key:
        raise DomainLMError(
            f"--set needs KEY=VALUE, not {text!r}",
            fix="for example --set train.0.tokens=200000",
            exit_code=USAGE,
        )
    try:
        value = tomllib.loads(f"value = {raw}")["value"]
    except tomllib.TOMLDecodeError:
        value = raw  # a bare word is a string
    *path, last = key.split(".")
    place: Any = values
    for name in path:
        if isinstance(place, list):
            if not name.isdigit() or int(name) >= len(place):
                raise DomainLMError(
                    f"--set {key}: there is no {name!r} in a list of {len(place)}",
                    exit_code=USAGE,
                )
            place = place[int(name)]
        else:
            place = place.setdefault(name, {})
        if not isinstance(place, dict | list):
            raise DomainLMError(f"--set {key}: {name!r} is not a table", exit_code=USAGE)
    if isinstance(place, list):
        if not last.isdigit() or int(last) >= len(place):
            raise DomainLMError(f"--set {key}: no such element", exit_code=USAGE)
        place[int(last)] = value
        return
    if last in BUDGETS and path[:1] == ["train"]:
        for other in BUDGETS:  # setting one budget replaces the other
            place.pop(other, None)
    if path == ["split"] and last in {"cut", "newest", "none"}:
        for other in ("cut", "newest", "none"):
            place.pop(other, None)
    place[last] = value


def _fault(error: Any) -> str:
    """One line for one pydantic error: key, fault, and a did-you-mean for unknown keys."""
    location = [str(part) for part in error["loc"]]
    key = ".".join(location) or "recipe"
    if error["type"] == "extra_forbidden":
        close = difflib.get_close_matches(location[-1], _known_keys(location[:-1]), 1, 0.5)
        hint = f"; did you mean {'.'.join([*location[:-1], close[0]])}?" if close else ""
        return f"{key}: unknown key{hint}"
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"{key}: {message[:1].lower()}{message[1:]}"


def _known_keys(location: list[str]) -> list[str]:
    """Names of the fields of the table at `location`, in which a number is an element of a list."""
    table: Any = Recipe
    for name in location:
        if not name.isdigit():
            kind = table.model_fields[name].annotation
            table = get_args(kind)[0] if get_origin(kind) is list else kind
    return list(table.model_fields)
