"""Where tasks run: a pool of processes on this machine, or the workers of a Dask cluster.

Both are executors of `concurrent.futures` that call a function at least once: tasks are files in,
files out, and safe to repeat. Tasks that want the whole machine run in the main process.
"""

import contextlib
import functools
import hashlib
import importlib
import logging
import multiprocessing
import os
import pickle
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from domainlm import artifacts
from domainlm.artifacts import Task, atomic_write, full_disk, is_full, outputs_of
from domainlm.errors import DomainLMError

SECONDS_TO_ANSWER = 10
# Threads of a worker's libraries. Two busy processes with two OpenMP threads each are twenty times
# slower than with one.
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "RAYON_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
# What writes the bytes of tasks' outputs: its versions must be the same everywhere.
WRITERS = (
    "charset-normalizer", "distributed", "ftfy", "gigatoken", "numpy", "py3langid", "pyarrow",
    "pypdfium2", "pyppmd", "python-docx", "rensa", "selectolax", "tokenizers", "zstandard",
)  # fmt: skip


class Done(NamedTuple):
    """What comes back of a task: what the manifest notes of its outputs, and how long it took."""

    outputs: list[dict[str, Any]]
    seconds: float


Submit = Callable[[Task], "Future[Done]"]


def run_tasks(root: Path, tasks: Sequence[Task], submit: Submit) -> Iterator[tuple[Task, Done]]:
    """Run independent `tasks`; yield each one as it finishes.

    Those that need the whole machine run here, and so does one that is alone. The first failure
    cancels what has not begun and is raised; finished tasks stay done.
    """
    alone = [t for t in tasks if t.in_process]
    spread = [t for t in tasks if not t.in_process]
    if len(spread) == 1:
        alone, spread = [*spread, *alone], []
    futures: dict[Future[Done], Task] = {}
    try:
        futures |= {submit(task): task for task in spread}
        for future in as_completed(futures):
            task = futures.pop(future)
            try:
                done = future.result()
            except (Exception, CancelledError) as error:
                raise _lost(error, task) or error from error.__cause__
            yield task, done
    finally:
        for future in futures:
            future.cancel()
    for task in alone:
        yield task, _call(root, task)


def _call(root: Path, task: Task) -> Done:
    """Run a task where it is, and hash what it wrote while that is still in memory."""
    started = time.perf_counter()
    try:
        rows = task.function(root, task.arguments)
        outputs = outputs_of(root, task, rows)
    except Exception as error:
        if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
            raise DomainLMError(
                f"out of memory in the task {task.name}",
                why=str(error) or "more was asked for than there is",
                where=f"a process that may take {_bound()}",
                fix="give it more with engine.memory or fewer engine.workers; where one huge "
                "document is the cause, leave it out with source.largest",
            ) from error
        if is_full(error, root):
            raise full_disk(root) from error
        raise
    return Done(outputs, time.perf_counter() - started)


def _bound() -> str:
    import resource

    bound = resource.getrlimit(resource.RLIMIT_DATA)[0]
    return "all there is" if bound == resource.RLIM_INFINITY else f"{bound / 1e6:,.0f} MB"


def _lost(error: BaseException, task: Task) -> DomainLMError | None:
    """The error of a worker or a scheduler that is gone; None for a task's own."""
    if isinstance(error, BrokenProcessPool) or type(error).__name__ == "KilledWorker":
        return DomainLMError(
            "a worker process was killed",
            where=task.name,
            why="by a signal, or for want of memory (its own engine.memory, or the machine's)",
            fix="give the same command again: the run goes on; if memory was short, with fewer "
            "workers (--set engine.workers=1) or a larger bound (engine.memory; on a cluster the "
            "workers' --memory-limit)",
        )
    if isinstance(error, CancelledError):
        return DomainLMError(
            "the cluster's scheduler is gone",
            where=task.name,
            why=str(error) or "it ended, or the network to it did",
            fix="start it and give the same command again: the run goes on (without "
            "engine.address on this machine)",
        )
    return None


# --- Processes here


@contextlib.contextmanager
def processes(root: Path, workers: int | None, memory: int | None) -> Iterator[Submit]:
    """A pool of `workers` processes (None: the cores), begun as they are needed.

    Each may take `memory` bytes of data (heap and private mappings, not code or files).
    """
    pool = ProcessPoolExecutor(
        max_workers=workers or os.cpu_count() or 1,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(os.getpid(), memory),
    )
    try:
        yield lambda task: pool.submit(_call, root, task)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker(parent: int, memory: int | None) -> None:
    """Pin a worker to one thread, bound it, and end it when its parent is gone (by SIGKILL too)."""
    import signal

    # Ctrl-C reaches the whole process group; the parent alone decides what to do about it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.update(ONE_THREAD)
    if memory is not None:
        import resource

        # pyarrow's allocator would take 1 GB of the bound at once, mostly never to be touched.
        os.environ["MIMALLOC_ARENA_EAGER_COMMIT"] = "0"
        resource.setrlimit(resource.RLIMIT_DATA, (memory, resource.RLIM_INFINITY))

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


# --- A Dask cluster


@contextlib.contextmanager
def cluster(root: Path, address: str) -> Iterator[Submit]:
    """The workers of the Dask scheduler at `address`; `root` must be a folder that they share.

    A worker that is lost has its tasks done by another one (Dask's `allowed-failures`: 3 times).
    A task still running when this ends can write nothing more: its token is gone.
    """
    try:
        distributed: Any = importlib.import_module("distributed")
    except ImportError as error:
        raise DomainLMError(
            "a cluster needs an extra",
            where=f"engine.address = {address}",
            why="the package distributed is not installed",
            fix="pip install 'domainlm[cluster]'    (the same on every worker)",
        ) from error
    # What Dask has to say about lost connections is said by our errors.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
    token = root / f".alive-{uuid.uuid4().hex}"
    with contextlib.ExitStack() as stack:
        try:
            client = distributed.Client(
                address, timeout=SECONDS_TO_ANSWER, set_as_default=False, name="domainlm"
            )
            stack.callback(client.close, timeout=SECONDS_TO_ANSWER)
            client.wait_for_workers(1, timeout=SECONDS_TO_ANSWER)
        except (OSError, ValueError, TimeoutError) as error:
            raise DomainLMError(
                "no scheduler, or one without workers",
                where=f"engine.address = {address}",
                why=str(error) or type(error).__name__,
                fix="start them (dask scheduler; dask worker ADDRESS --nthreads 1), or leave "
                "engine.address out to run on this machine",
            ) from error
        with atomic_write(token, "w") as file:
            file.write("A run on a cluster is going on.\n")
        stack.callback(token.unlink, missing_ok=True)
        try:
            client.run(_check, token, versions())
        except (ImportError, AttributeError) as error:  # of an environment without this module
            raise _differs(str(error)) from error
        executor = client.get_executor(pure=False)
        yield lambda task: executor.submit(_call_there, token, versions(), pickle.dumps(task))


def _call_there(token: Path, expected: dict[str, str], pickled: bytes) -> Done:
    """Run a task on a worker of a cluster; the task's modules load after the environment is set."""
    os.environ.update(ONE_THREAD)
    _check(token, expected)
    alive = artifacts.ALIVE.set(token)
    try:
        return _call(token.parent, pickle.loads(pickled))
    finally:
        artifacts.ALIVE.reset(alive)


def _check(token: Path, expected: dict[str, str]) -> None:
    """Raise where this worker does not see the run directory, or would write other bytes."""
    import socket

    if not token.exists():
        raise DomainLMError(
            "a worker does not see the run directory",
            where=f"{token.parent} on {socket.gethostname()}",
            why="another folder is there, or none; or the run has ended",
            fix="put --runs on a file system that is mounted at the same path on all machines",
        )
    ours = versions()
    if differing := [f"{k} {ours.get(k)}, not {v}" for k, v in expected.items() if ours[k] != v]:
        raise _differs(f"{socket.gethostname()} has {'; '.join(differing)}")


def _differs(why: str) -> DomainLMError:
    return DomainLMError(
        "a worker's environment differs from this one",
        why=why,
        fix="install the same versions there, and start the workers again (they keep old code)",
    )


@functools.cache  # a worker has the code of when it began, not what is on the disk now
def versions() -> dict[str, str]:
    """Versions of what decides the bytes of outputs, and the hash of this package's code."""
    import platform

    found = {"Python": platform.python_version()}
    for package in WRITERS:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "none"
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(file.read_bytes())
    return found | {"domainlm's code": digest.hexdigest()[:12]}
