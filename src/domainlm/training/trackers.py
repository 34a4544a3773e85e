"""Where the lines of `training.jsonl` go besides: TensorBoard, or a function of the user's own.

A tracker is any callable that takes a line (a dict of numbers) and has a `close()`, if it wants
one. `TensorBoard` is the one to copy.
"""

import contextlib
import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from domainlm import recipes
from domainlm.errors import USAGE, DomainLMError
from domainlm.training import distributed

Tracker = Callable[[dict[str, Any]], None]


class TensorBoard:
    """Scalars by step, in event files beside the model."""

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer: Any = SummaryWriter(str(folder))

    def __call__(self, line: dict[str, Any]) -> None:
        """Write every number of the line."""
        for name, value in line.items():
            if name != "step" and value is not None:
                self.writer.add_scalar(name, value, line["step"])

    def close(self) -> None:
        """Write what is still in memory."""
        self.writer.close()


@contextlib.contextmanager
def opened(root: Path, target: Path) -> Iterator[Tracker]:
    """The tracker that `engine.tracker` names in the run's recipe; one that does nothing if none.

    Read from the run, not from the arm's part of the recipe: who watches changes no model.
    Raises `DomainLMError` (exit code 2) where it cannot be had.
    """
    file = root / "recipe.toml"
    name = recipes.load(str(file)).engine.tracker if file.is_file() else None
    if name is None or distributed.rank():
        yield lambda line: None
        return
    tracker = _named(name, target)
    try:
        yield tracker
    finally:
        getattr(tracker, "close", lambda: None)()


def _named(name: str, target: Path) -> Tracker:
    module, colon, attribute = name.partition(":")
    try:
        if name == "tensorboard":
            return TensorBoard(target / "tensorboard")
        if not colon:
            raise ImportError("it names no function")
        found: Tracker = getattr(importlib.import_module(module), attribute)
        return found
    except (ImportError, AttributeError) as error:
        raise DomainLMError(
            "the tracker cannot be used",
            where=f"engine.tracker = {name!r}",
            why=str(error),
            fix="pip install 'domainlm[tensorboard]', or name package.module:function",
            exit_code=USAGE,
        ) from error
