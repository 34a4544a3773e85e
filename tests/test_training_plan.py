"""The plan of an arm: what it does where memory runs out, and where text is read too often."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from domainlm.artifacts import read_json
from domainlm.training import plan
from domainlm.training.arm import Arm
from training_helpers import new_run, scratch, write_config, write_tokens

CPU = torch.device("cpu")

# Out of memory -----------------------------------------------------------------------------------

PLANS = """
import dataclasses, json, resource, sys
from pathlib import Path

import torch
from domainlm.errors import DomainLMError
from domainlm.training import distributed, memory, plan
from domainlm.training.arm import Arm

root, arguments = Path(sys.argv[1]), json.loads(sys.argv[2])
torch.set_num_threads(1)
distributed.join()
arm = Arm(root, arguments)
need = memory.predict(arm.config, arm.settings, "fp32", False)
one = Arm(root, {**arguments, "arm": {**arguments["arm"], "micro_batch": 1}})
plan.make_plan(one, torch.device("cpu"))  # what is made once, such as buffers, is there
found = []
for windows in (100, 6, -1):  # the room there is
    if distributed.rank() == distributed.size() - 1:  # in one process
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        room = pages * resource.getpagesize() + int(need.peak(windows))
        resource.setrlimit(resource.RLIMIT_AS, (room, resource.RLIM_INFINITY))
    try:
        found.append(dataclasses.asdict(plan.make_plan(arm, torch.device("cpu")).passes))
    except DomainLMError as error:
        found.append(str(error))
(root / f"found-{distributed.rank()}.json").write_text(json.dumps(found))
distributed.leave()
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits a process's memory")
@pytest.mark.parametrize("processes", [1, 2])
def test_out_of_memory_makes_passes_smaller(tmp_path: Path, processes: int) -> None:
    """Memory really runs out, in one of the processes: all of them plan alike."""
    write_tokens(tmp_path / "tokens", train=60_000)
    config = write_config(tmp_path / "config.json", hidden_size=64, intermediate_size=4096)
    arm = scratch(tmp_path, model=str(config), context=64, batch_tokens=64 * 16 * processes)
    arm["arm"] |= {"precision": "fp32", "compile": "off"}
    program = tmp_path / "plans.py"
    program.write_text(PLANS)
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    done = subprocess.run(
        [sys.executable, *(torchrun if processes > 1 else []), program, tmp_path, json.dumps(arm)],
        capture_output=True,
        text=True,
        timeout=500,
        # Of glibc: what is freed goes back at once.
        env=os.environ | {"OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "65536"},
    )
    assert done.returncode == 0, done.stderr
    for rank in range(processes):
        all_fit, few_fit, none_fits = read_json(tmp_path / f"found-{rank}.json")
        assert (all_fit["micro_batch"], all_fit["recompute"]) == (16, False)
        assert few_fit["micro_batch"] in (1, 2, 4, 8)
        assert few_fit["windows"] == all_fit["windows"]  # the batch is what the recipe says
        assert "too large for the memory" in none_fits and "recomputing" in none_fits
    assert "out of memory at a micro-batch of 16: trying 8\n" in done.stderr
    assert "out of memory at a micro-batch of 1: trying 1, recomputing activations" in done.stderr


# Epochs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("budget", ["tokens", "epochs", "flops", "minutes"])
def test_too_many_epochs_are_told_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], budget: str
) -> None:
    write_tokens(tmp_path / "tokens")
    write_config(tmp_path / "config.json")
    root = new_run(tmp_path, tmp_path / "run")
    tokens = 5_984  # of an epoch: (6,000 - 1) // 16 windows
    flops = Arm(root, scratch(tmp_path)).flops_per_token * tokens

    def told(value: float) -> int:
        changes: dict[str, Any] = {budget: value, "compile": "off"}
        plan.make_plan(Arm(root, scratch(tmp_path, **changes)), CPU)
        return capsys.readouterr().err.count("epochs of 5,984 tokens: after about 4 a text")

    epoch = {"tokens": tokens, "epochs": 1.0, "flops": flops, "minutes": 60.0}[budget]
    assert told(10 * epoch) == 1  # more than 187 steps in ten hours
    if budget != "minutes":
        assert told(3 * epoch) == 0
