"""The run directory: atomic files, hashes, and the manifest that says which task is done.

A task is files in, files out, and safe to repeat. It is *fresh* when the manifest holds a record
with the same arguments, the same input hashes and the same code hash, and its outputs are still
there with their sizes. Everything the pipeline knows about resuming follows from that one rule.
"""

import contextlib
import dataclasses
import datetime
import errno
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import IO, Any

from domainlm.errors import DomainLMError
from domainlm.pretrained import Pretrained
from domainlm.recipe import Recipe

SCHEMA_VERSION = 1
LONG = 100  # items of a list or table from which the manifest has its hash only

# In a task on another machine: a file that is there for as long as the task's run is.
ALIVE: ContextVar[Path | None] = ContextVar("ALIVE", default=None)


@contextlib.contextmanager
def atomic_write(path: Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a temporary sibling of `path`; rename it into place only if the block succeeds.

    Readers see the old file or the whole new one, never a part (POSIX rename within a folder). A
    file may have two writers at once (a task given twice): the last one wins, whole.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        alive = ALIVE.get()
        if alive is not None and not alive.exists():
            raise DomainLMError("the run that this task is part of has ended", where=str(path))
        os.replace(temporary, path)
    except Exception as error:
        if is_full(error, path.parent):
            raise full_disk(path) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def is_full(error: Exception, folder: Path) -> bool:
    """True where `error` is that of a full disk or quota.

    Not all libraries pass on the errno: numpy has a message, torch none, so room left counts too.
    """
    if isinstance(error, DomainLMError):
        return False
    told = any(words in str(error) for words in ("No space left", "Not enough free space"))
    if told or getattr(error, "errno", 0) in (errno.ENOSPC, errno.EDQUOT):
        return True
    return folder.exists() and shutil.disk_usage(folder).free < 1_000_000


def full_disk(path: Path) -> DomainLMError:
    """The error of a full disk, met in writing `path`."""
    return DomainLMError(
        "no room left on the disk",
        where=str(path),
        why="a file could not be written whole; nothing half-written was kept",
        fix="free some space, then give the same command again: the run goes on",
    )


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
    size: int = 0  # bytes it has to go through, for the talk of progress


def outputs_of(root: Path, task: Task, rows: Mapping[str, int] | None) -> list[dict[str, Any]]:
    """What the manifest notes of the outputs of a task that is done: path, bytes, rows, sha256."""
    return [
        {
            "path": path,
            "bytes": (root / path).stat().st_size,
            "rows": (rows or {}).get(path),
            "sha256": sha256_file(root / path),
        }
        for path in task.outputs
    ]


class Manifest:
    """`manifest.json`: what was done, with which inputs, arguments and code. Saved atomically."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = root / "manifest.json"
        self.data: dict[str, Any] = {"schema_version": SCHEMA_VERSION, "tasks": {}}
        self._codes: dict[str, str] = {}
        self._saved = (0.0, 0.0)  # when (monotonic seconds), and how long it took
        self._unsaved = False
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
        self._hashes = {o["path"]: o["sha256"] for t in self.tasks.values() for o in t["outputs"]}

    @property
    def tasks(self) -> dict[str, dict[str, Any]]:
        """Records by task name."""
        tasks: dict[str, dict[str, Any]] = self.data["tasks"]
        return tasks

    def save(self) -> None:
        """Write the manifest atomically, a line a task (indented JSON takes ten times as long)."""
        began = time.monotonic()
        data = {**self.data, "tasks": None}
        head = "".join(f"{_compact(k)}: {_compact(v)},\n" for k, v in data.items() if k != "tasks")
        with atomic_write(self.path, "w") as file:
            file.write("{\n" + head + '"tasks": {')
            for number, (name, record) in enumerate(self.tasks.items()):
                file.write(f"{',' if number else ''}\n{_compact(name)}: {_compact(record)}")
            file.write("\n}\n}\n")
        self._saved = time.monotonic(), time.monotonic() - began
        self._unsaved = False

    def flush(self) -> None:
        """Save what `record` has not saved yet."""
        if self._unsaved:
            self.save()

    def output_hashes(self) -> dict[str, str]:
        """SHA-256 of every output by path, as recorded."""
        return dict(self._hashes)

    def merkle_root(self, stages: Sequence[str]) -> str:
        """Merkle tree hash (RFC 6962, 2.1) of all outputs of `stages` ("corpus", "tokens" ...).

        Leaves are `path NUL sha256` (hexadecimal), in the order of the paths' code points.
        """
        leaves = {
            o["path"]: f"{o['path']}\0{o['sha256']}".encode()
            for name, task in self.tasks.items()
            if name.partition("/")[0] in stages
            for o in task["outputs"]
        }
        return _tree([hashlib.sha256(b"\0" + leaves[p]).digest() for p in sorted(leaves)]).hex()

    def _code(self, task: Task) -> str:
        module = ".".join(task.function.__module__.split(".")[:2])
        if module not in self._codes:
            self._codes[module] = code_hash(task.function)
        return self._codes[module]

    def key(self, task: Task) -> dict[str, Any]:
        """What decides freshness: function, arguments, input hashes and code hash."""
        known = self._hashes
        return {
            "function": f"{task.function.__module__}.{task.function.__qualname__}",
            "arguments": _short(task.arguments),
            "inputs": _short({p: known.get(p) or self._hash_if_there(p) for p in task.inputs}),
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

    def record(self, task: Task, outputs: list[dict[str, Any]], seconds: float) -> None:
        """Note that `task` is done, with `outputs_of` it. `flush` must follow sooner or later.

        Saves at most once a second and a twentieth of the time, so that many tasks take a time in
        proportion to their number; what a kill loses is done again.
        """
        key = self.key(task)
        for output in self.tasks.get(task.name, {"outputs": ()})["outputs"]:
            self._hashes.pop(output["path"], None)
        self._hashes |= {o["path"]: o["sha256"] for o in outputs}
        ended = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        self.tasks[task.name] = {"key": key, "outputs": outputs, "seconds": round(seconds, 3),
                                 "ended": ended}  # fmt: skip
        self._unsaved = True
        when, took = self._saved
        if time.monotonic() - when > max(1, 20 * took):
            self.save()

    def forget(self, keep: set[str], stage: str) -> None:
        """Drop records and files of `stage` that no current task owns (a shard too many)."""
        gone = [n for n in self.tasks if n.startswith(f"{stage}/") and n not in keep]
        if gone:
            owned = {o["path"] for n in keep & self.tasks.keys() for o in self.tasks[n]["outputs"]}
            for output in [o for name in gone for o in self.tasks.pop(name)["outputs"]]:
                if output["path"] not in owned:
                    (self.root / output["path"]).unlink(missing_ok=True)
                    self._hashes.pop(output["path"], None)
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


def _short(value: Any) -> Any:
    """A JSON value with its long lists and tables told by their hash: the manifest stays small."""
    if isinstance(value, dict):
        value = {k: _short(v) for k, v in value.items()}
    if isinstance(value, dict | list | tuple) and len(value) > LONG:
        return {"count": len(value), "sha256": sha256_json(value)}
    return value


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _tree(hashes: Sequence[bytes]) -> bytes:
    """RFC 6962's tree over leaves' hashes: the left part is the largest power of two that fits."""
    if len(hashes) < 2:
        return hashes[0] if hashes else hashlib.sha256().digest()
    left = 1 << ((len(hashes) - 1).bit_length() - 1)
    return hashlib.sha256(b"\1" + _tree(hashes[:left]) + _tree(hashes[left:])).digest()


def _changed_keys(old: Any, new: Any, prefix: str = "") -> list[str]:
    """Dotted names of the leaves that differ between two JSON values."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted({*old, *new})
        return [n for k in keys for n in _changed_keys(old.get(k), new.get(k), f"{prefix}{k}.")]
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
