"""The stages in order; what is fresh, what is stale, what runs."""

import dataclasses
import datetime
import fcntl
import importlib
import os
import platform
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from domainlm import __version__, engine, pretrained
from domainlm.artifacts import Manifest, Run, Task, atomic_write, read_json
from domainlm.console import say, status
from domainlm.errors import USAGE, DomainLMError
from domainlm.recipe import Recipe
from domainlm.recipes import dump
from domainlm.report import inventory

if TYPE_CHECKING:
    from domainlm.corpus.estimate import Estimate

# The stages by the names of the command line, each with the room that holds it.
STAGES = {
    "corpus": "corpus",
    "tokens": "tokens",
    "train": "training",
    "evaluate": "evaluation",
    "report": "report",
}
ROOM_LEFT = 300_000_000  # bytes of disk under which nothing is begun


def start(
    recipe: Recipe, runs: Path, name: str | None, offline: bool, command: str, fresh: bool = False
) -> Run:
    """The run of a recipe: its folder, its manifest and the stock model that resolves."""
    root = (runs / (name or recipe.name)).absolute()
    if fresh and root.exists():
        if not (root / "recipe.toml").exists():
            raise DomainLMError(
                "--fresh removes a run, and this folder is none",
                where=str(root),
                why="it has no recipe.toml",
                fix="give another --name or --runs",
                exit_code=USAGE,
            )
        shutil.rmtree(root)
    stock = pretrained.resolve(recipe.evaluate.stock, offline)
    return Run(root, recipe, Manifest(root), stock, command, offline)


def followed() -> bool:
    """Under torchrun: meet the others, and as one of them train along; True when that is done.

    Process 0, and a process alone, gets False and has the pipeline to run.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        return False
    from domainlm.training import distributed, loop

    distributed.join()
    if distributed.rank() == 0:
        return False
    distributed.follow(loop.train)
    return True


def leave() -> None:
    """Under torchrun: let the others go."""
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        from domainlm.training import distributed

        distributed.leave()


def waves(run: Run, stage: str) -> Iterator[list[Task]]:
    """The lists of independent tasks of one stage."""
    module = importlib.import_module(f"domainlm.{STAGES[stage]}.stage")
    found: Iterator[list[Task]] = module.waves(run)
    return found


def execute(run: Run, until: str = "report") -> None:
    """Run every stage up to `until`, from what is missing or stale onwards."""
    run.root.mkdir(parents=True, exist_ok=True)
    with _locked(run.root):
        for left in run.root.rglob(".*.part"):  # of a process that was killed
            left.unlink(missing_ok=True)
        for left in run.root.glob(".alive-*"):  # what it left running on a cluster ends here
            left.unlink(missing_ok=True)
        with atomic_write(run.root / "recipe.toml", "w") as file:
            file.write(dump(run.recipe))
        run.manifest.data["environment"] = environment() | inventory.host()
        run.manifest.data["software"] = inventory.software()
        if run.stock is None:
            say("no stock model resolves: the run goes on with compressors as the only baseline")
        address = run.recipe.engine.address
        with engine.cluster(run.root, address) if address else nullcontext() as submit:
            for stage in STAGES:
                execute_stage(run, stage, submit=submit)
                if stage == until:
                    break


def evaluate(recipe: Recipe, root: Path, model: str, name: str | None, offline: bool) -> None:
    """Measure a model from outside on a finished run's held-out text; evidence and report follow.

    Raises `DomainLMError` where the model cannot be had, or compared with the run's.
    """
    from domainlm.evaluation import baselines, guests

    found = pretrained.locate(model, offline)
    taken = {"stock", *(arm.name for arm in recipe.train), *baselines.NAMES}
    guests.add(root, found, name, taken)
    command = read_json(root / guests.EVIDENCE)["command"]
    run = start(recipe, root.parent, root.name, offline, command)
    with _locked(root):
        for stage in ("evaluate", "report"):
            execute_stage(run, stage)


def execute_stage(
    run: Run, stage: str, again: bool = False, submit: engine.Submit | None = None
) -> None:
    """Run the tasks of one stage that are not fresh (all of them with `again`).

    `submit` sends a task to a cluster; without it a pool of processes is begun.
    """
    if submit is None:
        settings = run.recipe.engine
        with engine.processes(run.root, settings.workers, settings.memory) as submit:
            execute_stage(run, stage, again, submit)
        return
    began = time.monotonic()
    names: set[str] = set()
    done = 0
    for wave in waves(run, stage):
        names |= {task.name for task in wave}
        pending = [task for task in wave if again or run.manifest.why_stale(task)]
        if not pending:
            continue
        _check_disk(run.root)
        if not done:
            say(f"{stage}", style="bold")
        try:
            _run_wave(run, pending, submit)
        finally:
            run.manifest.flush()
        done += len(pending)
    run.manifest.forget(names, STAGES[stage])
    if done:
        say(f"  {stage}: {done} tasks in {time.monotonic() - began:.0f} s")
    else:
        say(f"{stage}: nothing to do")


def _run_wave(run: Run, pending: Sequence[Task], submit: engine.Submit) -> None:
    """Run and record independent tasks, with a line of progress where there are several."""
    began = time.monotonic()
    total = sum(task.size for task in pending)
    rows = size = 0
    for count, (task, done) in enumerate(engine.run_tasks(run.root, pending, submit), 1):
        run.manifest.record(task, *done)
        rows += sum(output["rows"] or 0 for output in done.outputs)
        size += task.size
        if len(pending) > 1:
            seconds = time.monotonic() - began
            left = seconds * ((total - size) / size if size else (len(pending) - count) / count)
            text = f"  {task.name}: {count:,}/{len(pending):,}"
            if total:
                text += f", {size / 1e6:,.0f}/{total / 1e6:,.0f} MB"
                text += f", {size / 1e6 / seconds:,.1f} MB/s"
            status(f"{text}, {datetime.timedelta(seconds=round(left))} left, {rows:,} rows")


def gates(run: Run) -> list[str]:
    """What a finished run does not meet of the recipe's limits, a line each; for exit code 3."""
    audit = importlib.import_module("domainlm.corpus.audit")
    assemble = importlib.import_module("domainlm.evaluation.assemble")
    found: list[str] = audit.over(run.root) + assemble.unmet(run.root)
    return found


@dataclasses.dataclass(frozen=True)
class Planned:
    """What `plan` says of a stage: its state, how many tasks are cached, and why others are not."""

    stage: str
    state: str  # "cached", "stale" or "to do"
    cached: int
    reasons: list[str]


def plan(run: Run) -> list[Planned]:
    """The state of every stage, with nothing run. After a stage to do, the rest is to do too."""
    planned: list[Planned] = []
    blocked = False
    for stage, room in STAGES.items():
        reasons: list[str] = []
        cached = 0
        known = any(name.startswith(f"{room}/") for name in run.manifest.tasks)
        if blocked:
            reasons.append("a stage before it changes" if known else "not done yet")
        else:
            for wave in waves(run, stage):
                stale = [(t, why) for t in wave if (why := run.manifest.why_stale(t))]
                cached += len(wave) - len(stale)
                reasons += [f"{task.name}: {why}" for task, why in stale]
                if stale:  # later waves may read what these tasks would write
                    break
        state = "cached" if not reasons else "stale" if known else "to do"
        planned.append(Planned(stage, state, cached, reasons))
        blocked = blocked or bool(reasons)
    return planned


def crawl_estimate(run: Run, planned: list[Planned]) -> "Estimate | None":
    """What a crawl that is still to do will cost; None where there is none."""
    if not any(r.startswith("corpus/crawl:") for stage in planned for r in stage.reasons):
        return None
    from domainlm.corpus.estimate import estimate

    return estimate(run.recipe)


def environment() -> dict[str, str]:
    """Machine and versions: what a reader needs to judge whether two runs are alike."""
    packages = ("torch", "transformers", "tokenizers", "gigatoken", "pyarrow", "numpy")
    found = {"python": platform.python_version(), "system": platform.platform()}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    found["domainlm"] = __version__
    found["processor"] = _processor()
    found["cores"] = str(os.cpu_count())
    return found


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _check_disk(root: Path) -> None:
    free = shutil.disk_usage(root).free
    if free < ROOM_LEFT:
        raise DomainLMError(
            "no room on the disk to go on",
            where=str(root),
            why=f"{free / 1e6:.0f} MB are free, a stage needs at least {ROOM_LEFT / 1e6:.0f} MB",
            fix="free some space, then give the same command again: the run goes on",
        )


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    """One process a run: a second one stops clearly. The lock goes with its process."""
    with open(root / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DomainLMError(
                "this run is going on in another process",
                where=str(root),
                fix="wait for it, or give this one another --name",
            ) from error
        yield
