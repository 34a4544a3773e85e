"""The run directory: atomic files, hashes, and the manifest that says which task is done.

A task is files in, files out, and safe to repeat. It is *fresh* when the manifest holds a record
with the same arguments, the same input hashes and the same code hash, and its outputs are still
there with their sizes. Everything the pipeline knows about resuming follows from that one rule.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from domainlm.errors import DomainLMError
from domainlm.pretrained import Pretrained
from domainlm.recipe import Recipe

SCHEMA_VERSION = 1


@contextlib.contextmanager
def atomic_write(path: Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a temporary sibling of `path`; rename it into place only if the block succeeds.

    Readers see the old file or the whole new one, never a part (POSIX rename within a folder).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.part")
    encoding = None if "b" in mode else "utf-8"
    try:
        with open(temporary, mode, encoding=encoding) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if error.errno == 28:  # ENOSPC
            raise DomainLMError(
                "no room left on the disk",
                where=str(path),
                why="a file could not be written whole; nothing half-written was kept",
                fix="free some space, then give the same command again: the run goes on",
            ) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented UTF-8 JSON, atomically."""
    with atomic_write(path, "w") as file:
        json.dump(value, file, indent=1, ensure_ascii=False)
        file.write("\n")


def read_json(path: Path) -> Any:
    """Read a JSON file written by `write_json`."""
    return json.loads(path.read_text(encoding="utf-8"))


def sha256_bytes(data: bytes) -> str:
    """Hexadecimal SHA-256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes, read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_json(value: Any) -> str:
    """SHA-256 of a JSON value in canonical form (sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return sha256_bytes(text.encode())


def code_hash(function: Callable[..., Any]) -> str:
    """Hash of the stage that `function` belongs to: every module of its room.

    `domainlm.training.loop.train` hashes all of `domainlm/training`, so a commit elsewhere
    retrains nothing. A function outside the package (a test's) hashes its own file.
    """
    module = function.__module__.split(".")
    package = Path(__file__).parent
    if module[0] != "domainlm":
        source = Path(function.__code__.co_filename)
        return sha256_file(source)
    room = package / module[1]
    files = sorted(room.rglob("*.*")) if room.is_dir() else [room.with_suffix(".py")]
    digest = hashlib.sha256()
    for file in files:
        if file.suffix in {".py", ".html", ".css", ".js", ".toml", ".md", ".txt", ".j2"}:
            digest.update(file.relative_to(package).as_posix().encode() + b"\0")
            digest.update(file.read_bytes())
    return digest.hexdigest()


@dataclasses.dataclass(frozen=True)
class Task:
    """One unit of work: `function(root, arguments)` reads `inputs`, writes `outputs`.

    Paths are relative to the run directory `root`. `arguments` is JSON: all that the task takes
    from the recipe. `function` is a module-level callable, so that any executor can ship it; it
    may return a mapping from output path to its number of rows.
    """

    name: str
    function: Callable[[Path, dict[str, Any]], Mapping[str, int] | None]
    arguments: dict[str, Any]
    inputs: Sequence[str] = ()
    outputs: Sequence[str] = ()
    in_process: bool = False  # needs all cores or the GPU: runs alone, in this process


class Manifest:
    """`manifest.json`: what was done, with which inputs, arguments and code. Saved atomically."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = root / "manifest.json"
        self.data: dict[str, Any] = {"schema_version": SCHEMA_VERSION, "tasks": {}}
        self._codes: dict[str, str] = {}
        if self.path.exists():
            try:
                self.data = read_json(self.path)
            except ValueError as error:
                raise DomainLMError(
                    "the run's manifest cannot be read",
                    where=str(self.path),
                    why=str(error),
                    fix=f"restore it, or start over with --fresh (removes {root})",
                ) from error

    @property
    def tasks(self) -> dict[str, dict[str, Any]]:
        """Records by task name."""
        tasks: dict[str, dict[str, Any]] = self.data["tasks"]
        return tasks

    def save(self) -> None:
        """Write the manifest atomically."""
        write_json(self.path, self.data)

    def output_hashes(self) -> dict[str, str]:
        """SHA-256 of every output by path, as recorded."""
        return {o["path"]: o["sha256"] for t in self.tasks.values() for o in t["outputs"]}

    def _code(self, task: Task) -> str:
        module = ".".join(task.function.__module__.split(".")[:2])
        if module not in self._codes:
            self._codes[module] = code_hash(task.function)
        return self._codes[module]

    def key(self, task: Task) -> dict[str, Any]:
        """What decides freshness: function, arguments, input hashes and code hash."""
        known = self.output_hashes()
        return {
            "function": f"{task.function.__module__}.{task.function.__qualname__}",
            "arguments": task.arguments,
            "inputs": {p: known.get(p) or self._hash_if_there(p) for p in task.inputs},
            "code": self._code(task),
        }

    def _hash_if_there(self, path: str) -> str:
        file = self.root / path
        return sha256_file(file) if file.is_file() else "missing"

    def why_stale(self, task: Task) -> str | None:
        """None when the task is fresh; else the reason in a few words."""
        record = self.tasks.get(task.name)
        if record is None:
            return "not done yet"
        key = json.loads(json.dumps(self.key(task)))
        old = record["key"]
        if old["function"] != key["function"] or old["code"] != key["code"]:
            return "the code of the stage changed"
        if old["arguments"] != key["arguments"]:
            changed = _changed_keys(old["arguments"], key["arguments"])
            return "changed in the recipe or source: " + ", ".join(changed[:4])
        if old["inputs"] != key["inputs"]:
            changed = _changed_keys(old["inputs"], key["inputs"])
            return "changed input: " + ", ".join(changed[:4])
        for output in record["outputs"]:
            file = self.root / output["path"]
            if not file.is_file() or file.stat().st_size != output["bytes"]:
                return f"missing or damaged output: {output['path']}"
        return None

    def record(self, task: Task, rows: Mapping[str, int] | None, seconds: float) -> None:
        """Note that `task` is done: hash its outputs and save."""
        outputs = [
            {
                "path": path,
                "bytes": (self.root / path).stat().st_size,
                "rows": (rows or {}).get(path),
                "sha256": sha256_file(self.root / path),
            }
            for path in task.outputs
        ]
        self.tasks[task.name] = {
            "key": self.key(task),
            "outputs": outputs,
            "seconds": round(seconds, 3),
        }
        self.save()

    def forget(self, keep: set[str], stage: str) -> None:
        """Drop records and files of `stage` that no current task owns (a shard too many)."""
        owned = {o["path"] for n, t in self.tasks.items() if n in keep for o in t["outputs"]}
        for name in [n for n in self.tasks if n.startswith(f"{stage}/") and n not in keep]:
            for output in self.tasks.pop(name)["outputs"]:
                if output["path"] not in owned:
                    (self.root / output["path"]).unlink(missing_ok=True)
        self.save()

    def differences(self) -> list[str]:
        """Re-hash every recorded output; one line a difference."""
        found = []
        for name, task in self.tasks.items():
            for output in task["outputs"]:
                file = self.root / output["path"]
                if not file.is_file():
                    found.append(f"{output['path']}: missing (task {name})")
                elif sha256_file(file) != output["sha256"]:
                    found.append(f"{output['path']}: differs from the manifest (task {name})")
        return found


def _changed_keys(old: Any, new: Any, prefix: str = "") -> list[str]:
    """Dotted names of the leaves that differ between two JSON values."""
    if isinstance(old, dict) and isinstance(new, dict):
        names = [
            name
            for key in sorted({*old, *new})
            for name in _changed_keys(old.get(key), new.get(key), f"{prefix}{key}.")
        ]
        return names
    return [] if old == new else [prefix.rstrip(".") or "value"]


@dataclasses.dataclass(frozen=True)
class Run:
    """What every stage is given: where, what, and with which stock model.

    A stage is `waves(run)`: a generator of lists of independent tasks. A wave may read what the
    waves before it wrote, since it is asked for only when those are done.
    """

    root: Path
    recipe: Recipe
    manifest: Manifest
    stock: Pretrained | None
    command: str = "domainlm run"
    offline: bool = False  # ask no server for anything
