"""Where tasks run: a pool of processes on this machine.

The engine needs one thing of an executor: to call a picklable function at least once. That is
`concurrent.futures.Executor`, so a cluster's executor can stand in for the pool.
"""

import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

from domainlm.artifacts import Task
from domainlm.errors import DomainLMError


def _start_worker(parent: int) -> None:
    """Pin a worker to one thread, and end it when its parent is gone (even by SIGKILL)."""
    import signal

    # Ctrl-C reaches the whole process group; the parent alone decides what to do about it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Two busy processes with two OpenMP threads each are twenty times slower than with one.
    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _call(root: Path, task: Task) -> tuple[Mapping[str, int] | None, float]:
    started = time.perf_counter()
    rows = task.function(root, task.arguments)
    return rows, time.perf_counter() - started


def run_tasks(
    root: Path, tasks: Sequence[Task], workers: int, executor: Executor | None = None
) -> Iterator[tuple[Task, Mapping[str, int] | None, float]]:
    """Run independent `tasks`; yield (task, rows, seconds) as each one finishes.

    The first failure cancels what has not begun and is raised; finished tasks stay done.
    """
    alone = [t for t in tasks if t.in_process]
    spread = [t for t in tasks if not t.in_process]
    if len(spread) == 1 and executor is None:
        alone, spread = [*spread, *alone], []
    if spread:
        pool = executor or ProcessPoolExecutor(
            max_workers=min(workers, len(spread)),
            mp_context=get_context("spawn"),
            initializer=_start_worker,
            initargs=(os.getpid(),),
        )
        try:
            futures = {pool.submit(_call, root, task): task for task in spread}
            for future in as_completed(futures):
                try:
                    rows, seconds = future.result()
                except BrokenProcessPool as error:
                    raise DomainLMError(
                        "a worker process was killed",
                        where=futures[future].name,
                        why="by a signal, or by the system for want of memory",
                        fix="give the same command again: the run goes on; if memory was short, "
                        "with --set engine.workers=1",
                    ) from error
                yield futures[future], rows, seconds
        finally:
            if executor is None:
                pool.shutdown(wait=True, cancel_futures=True)
    for task in alone:
        rows, seconds = _call(root, task)
        yield task, rows, seconds
