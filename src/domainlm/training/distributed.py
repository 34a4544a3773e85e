"""Many processes, one training: PyTorch's DDP under `torchrun`.

`torchrun --nproc-per-node 2 -m domainlm run RECIPE` is the whole of it. Process 0 runs the
pipeline; the others wait, train what it trains, and leave when it is done. The run directory must
be one that all of them see. Without torchrun there is one process and nothing here does anything.
"""

import datetime
import os
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from domainlm.console import console

PATIENCE = datetime.timedelta(days=14)  # the others wait while process 0 reads a corpus


def size() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Which of them this is, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def join() -> None:
    """Meet the other processes that torchrun started. Without torchrun: nothing."""
    if int(os.environ.get("WORLD_SIZE", 1)) > 1 and not dist.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, timeout=PATIENCE)


def shared(value: Any) -> Any:
    """Process 0's `value` (plain data), in every process."""
    if size() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, 0, device=torch.device("cpu"))
    return box[0]


def summed(value: Tensor) -> Tensor:
    """The sum of `value` over the processes, in each of them."""
    if size() > 1:
        dist.all_reduce(value)
    return value


def any_of(flag: bool) -> bool:
    """True in every process where it is true in one."""
    return flag if size() == 1 else bool(summed(torch.tensor(int(flag))))


def follow(train: Callable[..., Any]) -> None:
    """What all processes but the first do: `train` what process 0 trains, until it leaves."""
    console.quiet = True  # process 0 says it; errors are told once this is left
    try:
        while (work := shared(None)) is not None:
            train(*work)
    finally:
        console.quiet = False
    dist.destroy_process_group()


def leave() -> None:
    """Process 0 is done: the others may go."""
    if dist.is_initialized():
        shared(None)
        dist.destroy_process_group()
