"""What a run brings to its playground: models, openings, and train to search for copies."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from domainlm import pretrained, recipes
from domainlm.artifacts import read_json, sha256_file
from domainlm.console import say
from domainlm.corpus import documents
from domainlm.errors import USAGE, DomainLMError
from domainlm.evaluation import copies, models, samples
from domainlm.evaluation.copies import Copy
from domainlm.playground.streams import Player, words
from domainlm.recipe import Recipe

MOST = 4  # models that are loaded without being named
LARGE = 200_000_000  # bytes of corpus from which a search is made on demand only


@dataclasses.dataclass(frozen=True)
class Played:
    """A run to play with. `notices` is what must be said first, `train` the documents' files."""

    root: Path
    recipe: Recipe
    players: Sequence[Player]
    prompts: Sequence[dict[str, Any]]
    notices: Sequence[str]
    train: Sequence[Path]
    text_bytes: int

    @property
    def votes(self) -> Path:
        """Where votes are kept."""
        return self.root / "playground" / "votes.jsonl"


def open_run(root: Path, names: Sequence[str] = ()) -> Played:
    """Load the stock model and the arms of a run (or those in `names`); weights are safetensors.

    A model that cannot be loaded is left out with a notice; raises where none is left.
    """
    if not (root / "recipe.toml").is_file():
        raise DomainLMError(
            f"{root} is not a run directory",
            why="it has no recipe",
            fix="give the folder that `domainlm run` made, such as runs/demo",
            exit_code=USAGE,
        )
    recipe = recipes.load(str(root / "recipe.toml"))
    evidence = _json(root / "evaluation" / "evidence.json", {})
    known = evidence.get("models", {})
    notices = list(evidence.get("notices", ()))
    arms = [a.name for a in recipe.train if (root / "models" / a.name / "config.json").is_file()]
    wanted = list(names) or ["stock", *arms][:MOST]
    for name in set(wanted) - {"stock", *arms}:
        raise DomainLMError(
            f"the run has no model {name!r}",
            why=f"it has {', '.join(['stock', *arms])}",
            exit_code=USAGE,
        )
    players = []
    for name in wanted:
        try:
            players.append(_player(root, recipe, name, known.get(name, {})))
            say(f"  {name}: {players[-1].title}")
        except Exception as error:  # damaged weights have errors of many kinds
            notices.append(f"{name} is left out: {words(error)}.")
            say(f"  {notices[-1]}")
    if not players:
        raise DomainLMError(
            "the run has no model that can be loaded",
            where=str(root),
            why="; ".join(notices[-len(wanted) :]),
            fix="finish it first: domainlm run",
        )
    left = [arm for arm in arms if arm not in wanted]
    if left and not names:
        notices.append(f"Not loaded, to save memory: {', '.join(left)}.")
    ledger = _json(root / "corpus" / "ledger.json", {}).get("evidence", {})
    return Played(
        root,
        recipe,
        players,
        _json(root / "corpus" / "prompts.json", []),
        notices,
        documents.paths(root),
        int(ledger.get("text_bytes", 0)),
    )


def _player(root: Path, recipe: Recipe, name: str, known: dict[str, Any]) -> Player:
    """One loaded model; the stock model is found where it lies on this machine."""
    if name == "stock":
        folder, title, sha256 = _stock(recipe, known)
    else:
        folder = root / "models" / name
        weights = folder / "model.safetensors"
        if not weights.is_file():
            raise DomainLMError("a model has no weights", why="model.safetensors is not there")
        title, sha256 = known.get("title", ""), sha256_file(weights)
        known = _json(folder / "training.json", {}) | known
    model, tokenizer, separator = models.load(folder)
    special = models.special_ids(folder) | {separator}
    window = min(recipe.evaluate.window, models.context(model))
    return Player(
        name=name,
        title=title,
        role="stock" if name == "stock" else known.get("role", "scratch"),
        sha256=sha256,
        parameters=sum(p.numel() for p in model.parameters()),
        model=model,
        tokenizer=tokenizer,
        separator=separator,
        forbidden=samples.unwritten(model, tokenizer, special),
        context=min(models.context(model), max(window, 2)),
        window=window,
    )


def _stock(recipe: Recipe, known: dict[str, Any]) -> tuple[Path, str, str]:
    """Folder, title and hash: the one that the evidence is about, else the first that resolves."""
    if known:
        found = pretrained.locate(known["source"], offline=True)
        if found.sha256 != known["sha256"]:
            raise DomainLMError("the stock model is not the one that this run was measured with")
        return found.path, known["title"], found.sha256
    resolved = pretrained.resolve(recipe.evaluate.stock, offline=True)
    if resolved is None:
        raise DomainLMError("no stock model is on this machine")
    return resolved.path, resolved.title, resolved.sha256


def search(played: Played, text: str) -> Iterator[tuple[float, Copy]]:
    """The longest copy from train so far, after each file, with the share that is read."""
    found = []
    for number, path in enumerate(played.train, 1):
        found.append(copies.find(path, [text]))
        yield number / len(played.train), copies.best(found)[0]


def _json(path: Path, otherwise: Any) -> Any:
    return read_json(path) if path.is_file() else otherwise
