"""Two processes under torchrun train what one process trains."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from domainlm.artifacts import read_json
from domainlm.training import loop
from services import end
from small import domainlm, write_recipe
from training_helpers import CONTEXT, Arguments, log_of, make_home, new_run, scratch

pytestmark = pytest.mark.slow
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
# What cli.run and pipeline.followed do, for arms alone; an error is printed by every process.
PROGRAM = """
import json, pathlib, sys, time
from domainlm.errors import DomainLMError
from domainlm.training import distributed, loop, plan

root, jobs, pause = pathlib.Path(sys.argv[1]), json.loads(sys.argv[2]), float(sys.argv[3])
plan.VALIDATION_SHARE = 1e9
real = loop.Trainer.write_line


def write_line(self, bits):
    real(self, bits)
    time.sleep(pause)


def train(root, arguments):
    try:
        loop.train(root, arguments)
    except DomainLMError as error:
        print(f"process {distributed.rank()}: {error}", flush=True)


loop.Trainer.write_line = write_line
distributed.join()
if distributed.rank():
    distributed.follow(train)
else:
    for name, arguments in jobs.items():
        train(root / name, arguments)
    distributed.leave()
"""


def start(folder: Path, jobs: dict[str, Any], pause: float = 0.0) -> "subprocess.Popen[str]":
    """Begin to train the arms of `jobs`, by the names of their runs in `folder`."""
    program = folder / "program.py"
    program.write_text(PROGRAM)
    command = [*TORCHRUN, str(program), str(folder), json.dumps(jobs), str(pause)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )


def alike(one: Path, other: Path) -> None:
    """Weights and losses of two runs are the same within rounding."""
    first, second = (
        load_file(r / "models" / "scratch" / "model.safetensors") for r in (one, other)
    )
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=1e-3, atol=1e-4)
    lines = log_of(one), log_of(other)
    assert [x["tokens"] for x in lines[0]] == [x["tokens"] for x in lines[1]]
    for name in ("loss", "validation_bits_per_byte"):
        values = [[x[name] for x in log if x[name] is not None] for log in lines]
        assert values[0] == pytest.approx(values[1], abs=1e-4), name


@pytest.fixture(scope="module")
def home(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("domainlm.training.plan.VALIDATION_SHARE", 1e9)
        yield make_home(tmp_path_factory.mktemp("distributed"))


def arm(home: Path, **changes: Any) -> Arguments:
    return scratch(home, precision="fp32", **changes)


@pytest.fixture(scope="module")
def alone(home: Path) -> Path:
    """The arm as one process trains it."""
    root = new_run(home, home / "alone")
    loop.train(root, arm(home))
    return root


def test_two_processes_train_what_one_does(home: Path, alone: Path, tmp_path: Path) -> None:
    root = new_run(home, tmp_path / "two")
    new_run(home, tmp_path / "odd")
    jobs = {"two": arm(home), "odd": arm(home, batch_tokens=7 * CONTEXT)}
    process = start(tmp_path, jobs)
    output, _ = process.communicate(timeout=500)
    assert process.returncode == 0, output
    alike(root, alone)
    facts = read_json(root / "models" / "scratch" / "training.json")
    assert facts["processes"] == 2 and not (root / "checkpoints" / "scratch").exists()
    # Seven windows: each process says so, and neither waits for the other.
    for number in range(2):
        said = f"process {number}: the batch of arm 'scratch' cannot be shared by 2 processes"
        assert output.count(said) == 1, output
    assert "it has 7 windows" in output and not (tmp_path / "odd" / "checkpoints").exists()
    assert output.count("24 steps of 128 tokens") == 1  # the plan is told once, not twice


def test_sigterm_saves_and_any_number_goes_on(home: Path, alone: Path, tmp_path: Path) -> None:
    two, one = new_run(home, tmp_path / "two"), tmp_path / "one"
    process = start(tmp_path, {"two": arm(home)}, pause=0.3)
    log = two / "models" / "scratch" / "training.jsonl"
    while process.poll() is None and (not log.is_file() or log.read_text().count("\n") < 5):
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=500)
    found = re.search(
        r"process 0: stopped; the same command goes on\n.*\n.*step (\d+) of 24", output
    )
    assert found, output
    checkpoint = two / "checkpoints" / "scratch" / f"step-{int(found[1]):08d}.pt"
    assert 5 <= int(found[1]) < 24 and checkpoint.is_file()
    new_run(home, one)
    for name in ("checkpoints", "models"):
        shutil.copytree(two / name, one / name)
    process = start(tmp_path, {"two": arm(home)})  # the same command
    output, _ = process.communicate(timeout=500)
    assert process.returncode == 0, output
    assert output.count(f"going on from step {int(found[1])} of 24") == 1
    alike(two, alone)
    loop.train(one, arm(home))  # and without torchrun
    alike(one, alone)


def test_the_command_line_under_torchrun(tmp_path: Path) -> None:
    write_recipe(tmp_path)
    command = [*TORCHRUN, "-m", "domainlm", "run", "small.toml", "--offline", "--until", "train"]
    command += ["--set", "train.0.tokens=4096", "--set", "train.1.tokens=4096"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        output, _ = process.communicate(timeout=500)
    finally:
        end(process)
    assert process.returncode == 0 and "Traceback" not in output, output
    for name in ("scratch", "continued"):
        facts = read_json(tmp_path / "runs" / "small" / "models" / name / "training.json")
        assert (facts["processes"], facts["steps"]) == (2, 8)
    domainlm("verify", "runs/small", cwd=tmp_path)
