"""Fixtures that more than one room's tests use, and CI's rule on skips."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from threadpoolctl import threadpool_limits

from small import domainlm, write_recipe

# A busy machine stalls for seconds: how long an example takes says nothing of the code.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")

SHARED = Path(__file__).resolve().parents[2] / "shared" / "filings"


@pytest.fixture(scope="session")
def filings() -> Path:
    """The folder of unpacked real filings; skips loudly where they are not at hand."""
    if not (SHARED / "unpack.py").is_file():
        pytest.skip(f"real filings left out: {SHARED} is not there")
    target = Path.home() / ".cache" / "domainlm" / "filings"
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target.with_suffix(".lock"), "w") as lock:  # tests run in more than one process
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run(
            [sys.executable, str(SHARED / "unpack.py"), "--to", str(target)],
            check=True,
            stdout=subprocess.DEVNULL,
        )
    return target


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Tiny matrices on threads of a busy machine wait for each other far longer than they work."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run to play with."""
    from playground_helpers import make_played

    return make_played(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def served(played: Path) -> Iterator[Any]:
    """Its server."""
    from playground_helpers import Served

    server = Served(played, per_second=200, burst=400)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `small.toml` and an uninterrupted run of it."""
    folder = tmp_path_factory.mktemp("pipeline")
    write_recipe(folder)
    domainlm("run", "small.toml", "--offline", cwd=folder)
    return folder


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """In CI a skip is a failure, unless it is for the real filings, which may be absent."""
    report = yield
    if report.skipped and os.environ.get("CI") and "real filings" not in str(call.excinfo).lower():
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {call.excinfo.value if call.excinfo else item.name}"
    return report
