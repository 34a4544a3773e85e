"""Where tasks run: processes under a bound of memory, and a real Dask cluster that loses parts."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from domainlm import artifacts, engine, pipeline, recipes
from domainlm.artifacts import Manifest, Task, atomic_write
from domainlm.corpus import sources
from domainlm.errors import DomainLMError
from services import end
from small import write_recipe


def repeat(root: Path, arguments: dict[str, Any]) -> dict[str, int]:
    time.sleep(arguments["seconds"])
    with atomic_write(root / arguments["to"], "w") as file:
        file.write(arguments["to"] * 1000)
    return {arguments["to"]: 1}


def take_memory(root: Path, arguments: dict[str, Any]) -> None:
    bytearray(arguments["bytes"])


def load_libraries(root: Path, arguments: dict[str, Any]) -> dict[str, int]:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    import tokenizers
    import torch

    table = pa.table({"a": np.ones(1_000_000), "b": torch.ones(1_000_000).numpy()})
    with atomic_write(root / arguments["to"]) as file:
        pq.write_table(table, file)
    assert tokenizers.Tokenizer
    threads = pa.cpu_count(), torch.get_num_threads(), os.environ["RAYON_NUM_THREADS"]
    assert threads == (1, 1, "1"), threads
    return {arguments["to"]: table.num_rows}


def end_process(root: Path, arguments: dict[str, Any]) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def tasks_of(count: int, seconds: float = 0.2) -> list[Task]:
    names = [f"out-{n:02d}.txt" for n in range(count)]
    return [
        Task(f"room/{n}", repeat, {"to": n, "seconds": seconds}, (), (n,), size=10) for n in names
    ]


def run(root: Path, tasks: list[Task], submit: engine.Submit) -> dict[str, str]:
    manifest = Manifest(root)
    pending = [t for t in tasks if manifest.why_stale(t)]
    try:
        for task, done in engine.run_tasks(root, pending, submit):
            manifest.record(task, *done)
    finally:
        manifest.flush()
    return manifest.output_hashes()


def by_processes(root: Path, tasks: list[Task]) -> dict[str, str]:
    root.mkdir(exist_ok=True)
    with engine.processes(root, 2, None) as submit:
        return run(root, tasks, submit)


# --- Memory


@pytest.mark.slow
def test_a_task_over_the_bound_of_memory_is_a_clear_error(tmp_path: Path) -> None:
    tasks = [Task(f"room/{n}", take_memory, {"bytes": 10**9}) for n in range(2)]
    with (
        pytest.raises(DomainLMError, match="out of memory in the task room/") as caught,
        engine.processes(tmp_path, 2, 500_000_000) as submit,
    ):
        list(engine.run_tasks(tmp_path, tasks, submit))
    assert "500 MB" in caught.value.where and "engine.memory" in caught.value.fix
    small = [Task(f"room/{n}", take_memory, {"bytes": 10**8}) for n in range(2)]
    with engine.processes(tmp_path, 2, 500_000_000) as submit:
        assert len(list(engine.run_tasks(tmp_path, small, submit))) == 2


@pytest.mark.slow
def test_the_libraries_fit_into_the_least_bound_with_one_thread(tmp_path: Path) -> None:
    tasks = [Task(f"room/{n}", load_libraries, {"to": n}, (), (n,)) for n in ("a", "b")]
    with engine.processes(tmp_path, 2, 500_000_000) as submit:
        done = [
            result.outputs[0]["rows"] for _, result in engine.run_tasks(tmp_path, tasks, submit)
        ]
    assert done == [1_000_000] * 2


# --- A cluster


def start(*words: str) -> subprocess.Popen[bytes]:
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path.rstrip(os.pathsep)}
    return subprocess.Popen(
        [sys.executable, "-m", *words], env=environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


@contextlib.contextmanager
def cluster_of(
    folder: Path, workers: int, nanny: str = "--no-nanny"
) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """A scheduler and its workers, processes of their own; yields address and processes."""
    import distributed

    file = folder / "scheduler.json"
    scheduler = start(
        "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard",
        "--scheduler-file", str(file),
    )  # fmt: skip
    worker = (
        "distributed.cli.dask_worker", "--scheduler-file", str(file), "--nthreads", "1",
        nanny, "--no-dashboard", "--local-directory", str(folder),
    )  # fmt: skip
    processes = [scheduler]
    try:
        while not file.exists():
            assert scheduler.poll() is None
            time.sleep(0.05)
        processes += [start(*worker) for _ in range(workers)]
        with distributed.Client(scheduler_file=str(file), set_as_default=False) as client:
            client.wait_for_workers(workers, timeout=60)
            address = client.scheduler.address
        yield address, processes
    finally:
        for process in processes[::-1]:
            end(process)


@pytest.mark.slow
def test_a_cluster_writes_what_processes_write_and_may_lose_a_worker(tmp_path: Path) -> None:
    expected = by_processes(tmp_path / "here", tasks_of(16))
    root = tmp_path / "there"
    root.mkdir()
    with cluster_of(tmp_path, 2) as (address, processes), engine.cluster(root, address) as submit:
        assert run(root, tasks_of(4), submit).items() <= expected.items()
        killed = False
        manifest = Manifest(root)
        for task, done in engine.run_tasks(root, tasks_of(16)[4:], submit):
            manifest.record(task, *done)
            if not killed:
                processes[1].kill()
                killed = True
        assert manifest.output_hashes() == expected
        assert manifest.differences() == []
    left = [f.name for f in root.glob(".*")]  # of the killed one perhaps what it was writing
    assert len(left) <= 1 and all(name.endswith(".part") for name in left)


@pytest.mark.slow
def test_a_scheduler_that_dies_is_a_clear_error_and_processes_go_on(tmp_path: Path) -> None:
    tasks = tasks_of(12)
    expected = by_processes(tmp_path / "here", tasks)
    root = tmp_path / "there"
    root.mkdir()
    manifest = Manifest(root)
    with cluster_of(tmp_path, 1) as (address, processes):
        with (
            pytest.raises(DomainLMError, match="scheduler is gone"),
            engine.cluster(root, address) as submit,
        ):
            for task, done in engine.run_tasks(root, tasks, submit):
                manifest.record(task, *done)
                processes[0].kill()
        manifest.flush()
    assert 0 < len(manifest.tasks) < 12
    assert by_processes(root, tasks) == expected


@pytest.mark.slow
def test_a_task_that_ends_every_worker_is_a_clear_error(tmp_path: Path) -> None:
    with (
        cluster_of(tmp_path, 1, "--nanny") as (address, _),
        pytest.raises(DomainLMError, match="a worker process was killed") as caught,
        engine.cluster(tmp_path, address) as submit,
    ):
        tasks = [Task(f"room/{n}", end_process, {}) for n in range(2)]
        list(engine.run_tasks(tmp_path, tasks, submit))
    assert "memory-limit" in caught.value.fix


@pytest.mark.slow
def test_a_worker_of_other_versions_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = engine.versions()
    monkeypatch.setattr(engine, "versions", lambda: ours | {"pyarrow": "0.1"})
    with (
        cluster_of(tmp_path, 1) as (address, _),
        pytest.raises(DomainLMError, match="environment differs") as caught,
        engine.cluster(tmp_path, address),
    ):
        pass
    assert f"pyarrow {ours['pyarrow']}, not 0.1" in caught.value.why
    assert not list(tmp_path.glob(".*"))


def test_a_run_directory_that_a_worker_does_not_see(tmp_path: Path) -> None:
    with pytest.raises(DomainLMError, match="does not see the run directory"):
        engine._check(tmp_path / "elsewhere" / ".alive-1", engine.versions())


def test_a_task_left_over_from_a_run_that_has_ended_writes_nothing(tmp_path: Path) -> None:
    token = tmp_path / ".alive-1"
    token.touch()
    artifacts.ALIVE.set(token)
    try:
        repeat(tmp_path, {"to": "a", "seconds": 0})
        token.unlink()
        with pytest.raises(DomainLMError, match="has ended"):
            repeat(tmp_path, {"to": "b", "seconds": 0})
    finally:
        artifacts.ALIVE.set(None)
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_no_scheduler_and_no_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "SECONDS_TO_ANSWER", 1)
    for address in ("tcp://127.0.0.1:1", "nothing://here"):
        with pytest.raises(DomainLMError, match="no scheduler"), engine.cluster(tmp_path, address):
            pass
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(DomainLMError) as caught, engine.cluster(tmp_path, "tcp://127.0.0.1:1"):
        pass
    assert "domainlm[cluster]" in caught.value.fix


def corpus_and_tokens(folder: Path, name: str, *overrides: str) -> dict[str, str]:
    """Run the first two stages of `small.toml`; the hashes of all that they wrote."""
    started = pipeline.start(
        recipes.load(str(folder / "small.toml"), overrides), folder, name, offline=True, command=""
    )
    pipeline.execute(started, until="tokens")
    assert Manifest(folder / name).differences() == []
    return Manifest(folder / name).output_hashes()


@pytest.mark.slow
def test_a_corpus_through_a_cluster_is_the_corpus_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """With a worker killed in the middle of it; then the scheduler, and processes go on."""
    write_recipe(tmp_path)
    monkeypatch.setattr(sources, "BATCH_BYTES", 10_000)  # only the main process makes batches
    expected = corpus_and_tokens(tmp_path, "here", "engine.workers=2")
    assert sum(path.startswith("corpus/documents") for path in expected) > 10
    with cluster_of(tmp_path, 2) as (address, processes):
        cluster = f"engine.address={address}"
        kill = threading.Thread(
            target=kill_after, args=(processes[1], tmp_path / "there", "corpus/parts/read-*")
        )
        kill.start()
        assert corpus_and_tokens(tmp_path, "there", cluster) == expected
        kill.join()
        kill = threading.Thread(
            target=kill_after, args=(processes[0], tmp_path / "gone", "corpus/documents-*")
        )
        kill.start()
        with pytest.raises(DomainLMError, match="scheduler is gone"):
            corpus_and_tokens(tmp_path, "gone", cluster)
        kill.join()
    assert 0 < len(Manifest(tmp_path / "gone").tasks) < len(Manifest(tmp_path / "here").tasks)
    assert corpus_and_tokens(tmp_path, "gone", "engine.workers=2") == expected
    assert "Traceback" not in capfd.readouterr().err


def kill_after(process: subprocess.Popen[bytes], root: Path, pattern: str) -> None:
    """Kill `process` when the first output of a run matches `pattern`."""
    while not list(root.glob(pattern)):
        time.sleep(0.005)
    process.kill()


# --- A full disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MB, mounted for the test."""
    top = tmp_path / "disk"
    top.mkdir()
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    mount = [*sudo, "mount", "-t", "tmpfs", "-o", "size=64m,mode=777", "none", str(top)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a small file system cannot be mounted here: {error}")
    yield top
    subprocess.run([*sudo, "umount", "-l", str(top)], check=True)


@pytest.mark.slow
def test_a_disk_that_fills_stops_a_run_clearly_and_the_run_goes_on(
    tmp_path: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Full at a little more each time, until it is done: many a stage meets the end of the disk."""
    write_recipe(tmp_path)
    monkeypatch.setattr(sources, "BATCH_BYTES", 50_000)
    monkeypatch.setattr(pipeline, "ROOM_LEFT", 0)
    expected = corpus_and_tokens(tmp_path, "whole", "engine.workers=2")
    filler = small_disk / "filler"
    (tmp_path / "whole").rename(tmp_path / "kept")
    (small_disk / "whole").mkdir()
    (tmp_path / "whole").symlink_to(small_disk / "whole")
    with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    where = set()
    for _ in range(200):
        os.truncate(filler, filler.stat().st_size - 20 * 4096)
        try:
            found = corpus_and_tokens(tmp_path, "whole", "engine.workers=2")
            break
        except DomainLMError as error:
            assert error.what == "no room left on the disk", error
            where.add(Path(error.where).name)
        assert not list(small_disk.rglob(".*.part"))
    assert found == expected
    assert len(where) >= 3, where


@pytest.mark.slow
def test_a_full_disk_is_told_whatever_writes(small_disk: Path) -> None:
    """Of these numpy and torch do not say what happened."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    import torch
    from safetensors.torch import save

    values = np.random.default_rng(0).random(12_000_000)
    table = pa.table({"a": values})
    writers: dict[str, Callable[[IO[Any]], Any]] = {
        "numpy": lambda file: np.save(file, values),
        "pyarrow": lambda file: pq.write_table(table, file),
        "torch": lambda file: torch.save(torch.from_numpy(values), file),
        "safetensors": lambda file: file.write(save({"a": torch.from_numpy(values)})),
        "a path": lambda file: pq.write_table(table, file.name),
    }
    for name, write in writers.items():
        with (
            pytest.raises(DomainLMError, match="no room left"),
            atomic_write(small_disk / name) as file,
        ):
            write(file)
        assert not list(small_disk.iterdir())
