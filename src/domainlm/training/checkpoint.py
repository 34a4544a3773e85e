"""Checkpoints: whole files or none, only tensors and plain values, two of them kept.

A folder belongs to one arm of one recipe on one set of tokens; the identity in its plan says which,
and training stops before it begins where that is another's: hours of work are not overwritten. Each
`.pt` has a `.json` beside it, written after it, with its size and hash. What does not match is
passed over, so a torn or bitten checkpoint costs a minute of training and nothing else.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import torch

from domainlm.artifacts import atomic_write, read_json, sha256_file, write_json
from domainlm.console import say
from domainlm.errors import DomainLMError
from domainlm.training import distributed

KEEP = 2


class Checkpoints:
    """The checkpoints in `folder`, of the arm with this `identity` (names and plain values)."""

    def __init__(self, folder: Path, identity: dict[str, Any]) -> None:
        self.folder, self.identity = folder, json.loads(json.dumps(identity))
        if folder.exists():
            self._check(self._read_json(folder / "plan.json").get("identity", {}))
        if distributed.rank() == 0:
            for torn in folder.glob(".*.part"):
                torn.unlink()

    def _check(self, found: dict[str, Any]) -> None:
        """Raise where these are the checkpoints of something else; remove what is worth nothing."""
        if found == self.identity:
            return
        if not any(self.folder.glob("step-*.pt")):
            self.remove()
            return
        names = [k for k in self.identity | found if found.get(k) != self.identity.get(k)]
        changes = [f"{k} was {found.get(k)!r}, is {self.identity.get(k)!r}" for k in names]
        raise DomainLMError(
            "the checkpoints here are of another recipe or other tokens",
            where=str(self.folder),
            why="; ".join(changes),
            fix=f"set it back to go on, give this run another --name, or: rm -r {self.folder}",
        )

    @staticmethod
    def _read_json(path: Path) -> dict[str, Any]:
        try:
            value = read_json(path)
        except (OSError, ValueError):
            return {}
        return value if isinstance(value, dict) else {}

    def plan(self) -> dict[str, Any] | None:
        """What was fixed when the arm began; None where nothing has begun."""
        plan: dict[str, Any] | None = self._read_json(self.folder / "plan.json").get("plan")
        return plan

    def save_plan(self, plan: dict[str, Any]) -> None:
        """Fix the plan: every later start of this arm goes by it."""
        write_json(self.folder / "plan.json", {"identity": self.identity, "plan": plan})

    def save(self, step: int, state: dict[str, Any], best: int | None) -> Path:
        """Write the state after `step` steps, then drop all but the newest two.

        `best` is the step whose weights are the best so far: they stay as long as a checkpoint
        that speaks of them.
        """
        path = self._write(f"step-{step:08d}", state, {"step": step, "best": best})
        kept = sorted(self.folder.glob("step-*.json"))[-KEEP:]
        names = {p.stem for p in kept}
        names |= {f"best-{b:08d}" for p in kept if (b := self._read_json(p).get("best"))}
        for old in self.folder.glob("*-*"):
            if old.stem not in names:
                old.unlink()
        return path

    def newest(self) -> dict[str, Any] | None:
        """The state of the newest checkpoint that is whole; None where there is none."""
        for note in sorted(self.folder.glob("step-*.json"), reverse=True):
            best = self._read_json(note).get("best")
            state = self._load(note.stem)
            if state is not None and (best is None or self._whole(f"best-{best:08d}")):
                return state
            say(f"  {note.stem} is damaged: taking the checkpoint before it")
        return None

    def newest_path(self) -> str:
        """Path of the newest checkpoint for an error message, or "none"."""
        return str(max(self.folder.glob("step-*.pt"), default="none"))

    def save_best(self, step: int, weights: dict[str, Any]) -> None:
        """Write the weights after `step` steps as the best so far."""
        self._write(f"best-{step:08d}", weights, {"step": step})

    def best(self, step: int) -> dict[str, Any]:
        """Weights of the best step, as saved."""
        weights = self._load(f"best-{step:08d}")
        assert weights is not None, "the best weights were checked when training went on"
        return weights

    def remove(self) -> None:
        """Remove the folder: the arm is exported, or another's checkpoints are in the way."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _write(self, name: str, value: dict[str, Any], note: dict[str, Any]) -> Path:
        path = self.folder / f"{name}.pt"
        with atomic_write(path) as file:
            torch.save(value, file)
        size, digest = path.stat().st_size, sha256_file(path)
        write_json(path.with_suffix(".json"), {**note, "bytes": size, "sha256": digest})
        return path

    def _whole(self, name: str) -> bool:
        path, note = self.folder / f"{name}.pt", self._read_json(self.folder / f"{name}.json")
        if not path.is_file() or path.stat().st_size != note.get("bytes"):
            return False
        return sha256_file(path) == note.get("sha256")

    def _load(self, name: str) -> dict[str, Any] | None:
        if not self._whole(name):
            return None
        path = self.folder / f"{name}.pt"
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return state
