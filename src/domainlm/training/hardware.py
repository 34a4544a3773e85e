"""The machine: what it computes with, how much fits, how fast it is, what it draws."""

import contextlib
import importlib.util
import os
import platform
import resource
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from domainlm.pretrained import resolve
from domainlm.recipe import Evaluate

Precision = Literal["bf16", "fp32"]
# Dense bfloat16 FLOPs a second as the makers state them, by the driver's whole name for the device:
# a part of a name would give a laptop's or a PCIe card's model its larger sibling's figure.
VENDOR_FLOPS = {
    "NVIDIA H200": 989e12,
    "NVIDIA H100 80GB HBM3": 989e12,
    "NVIDIA H100 PCIe": 756e12,
    "NVIDIA A100-SXM4-40GB": 312e12,
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA L40S": 362e12,
    "NVIDIA L4": 121e12,
    "NVIDIA GeForce RTX 4090": 165.2e12,
    "NVIDIA GeForce RTX 3090": 71e12,
}


def device() -> torch.device:
    """The GPU of this process where there is one, else the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))  # torchrun's numbering


def device_name(where: torch.device) -> str:
    """A name for people, such as "NVIDIA H200" or "AMD EPYC (2 threads)"."""
    if where.type == "cuda":
        return torch.cuda.get_device_name(where)
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(x.partition(":")[2].strip() for x in lines if x.startswith("model name"))
    return f"{name} ({threads()} threads)"


def fast_bf16(where: torch.device) -> bool:
    """True where bfloat16 has units of its own. A CPU without them emulates it, slowly."""
    if where.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    cpu: Any = torch.cpu
    return bool(cpu._is_amx_tile_supported() or cpu._is_avx512_bf16_supported())


def precision(wish: str, where: torch.device) -> Precision:
    """The recipe's `precision` ("auto", "bf16", "fp32") on this machine."""
    if wish == "auto":
        return "bf16" if fast_bf16(where) else "fp32"
    return "bf16" if wish == "bf16" else "fp32"


def threads() -> int:
    """Threads for one busy process: what torch would take, within the container's share."""
    count = torch.get_num_threads()
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        count = min(count, len(os.sched_getaffinity(0)))
    with contextlib.suppress(OSError, ValueError):  # cgroup v2: "quota period", or "max period"
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        count = min(count, max(1, int(quota) // int(period)))
    return count


def memory(where: torch.device) -> int:
    """Bytes of memory: the GPU's own, or the machine's within the container's limit."""
    if where.type == "cuda":
        size: int = torch.cuda.get_device_properties(where).total_memory
        return size
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError):
        total = min(total, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return total


def gpu_memory(where: torch.device) -> int:
    """Bytes of memory where it is a GPU's, else 0."""
    return memory(where) if where.type == "cuda" else 0


def memory_free(where: torch.device) -> int:
    """Bytes that this process may plan with: what nobody holds of a GPU, its share of a machine."""
    if where.type == "cuda":
        mine = torch.cuda.memory_reserved(where) - torch.cuda.memory_allocated(where)
        return int(torch.cuda.mem_get_info(where)[0]) + mine
    return memory(where) // int(os.environ.get("LOCAL_WORLD_SIZE", 1))  # torchrun's


def memory_used(where: torch.device) -> int:
    """Most bytes of the device's memory that this process has taken so far."""
    if where.type == "cuda":
        return int(torch.cuda.max_memory_allocated(where))
    status = Path("/proc/self/status")
    if status.is_file():  # `getrusage` keeps its figure across an exec, so a large parent's
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        if "VmHWM" in lines:
            return int(lines["VmHWM"].split()[0]) * 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def reset_memory_used(where: torch.device) -> None:
    """From here on `memory_used` tells anew, where the system allows that (not on macOS)."""
    if where.type == "cuda":
        torch.cuda.reset_peak_memory_stats(where)
        return
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # proc(5): the peak is now what is used now


def vendor_flops(where: torch.device, chosen: Precision) -> float | None:
    """FLOPs a second that the maker states, or None: never another device's figure."""
    if where.type != "cuda" or chosen != "bf16":
        return None
    return VENDOR_FLOPS.get(torch.cuda.get_device_name(where))


# Share of the memory that training may plan with, and tokens a pass beyond which nothing is won:
# a CPU works best from its caches.
USABLE = {"cpu": 0.6, "cuda": 0.9}
PASS_TOKENS = {"cpu": 2_048, "cuda": 65_536}


def can_compile(kind: str) -> bool:
    """True where torch.compile has what it needs: a C++ compiler for the CPU; for a GPU Triton.

    And Triton needs a C compiler too, and compute capability 7.
    """
    if kind == "cuda":
        compilers = [os.environ["CC"]] if "CC" in os.environ else ["gcc", "cc", "clang"]
        there = importlib.util.find_spec("triton") and any(map(shutil.which, compilers))
        return bool(there) and torch.cuda.get_device_capability() >= (7, 0)
    return shutil.which(os.environ.get("CXX", "g++")) is not None


def matmul_flops(where: torch.device, chosen: Precision) -> float:
    """FLOPs a second of a large matrix product here: the peak that utilization is measured by.

    Best of five, a second in all; `chosen` decides the type of the numbers.
    """
    size = 8192 if where.type == "cuda" else 1024
    a = torch.randn(size, size, device=where)
    a = a.bfloat16() if chosen == "bf16" else a
    return 2.0 * size**3 / min(seconds(lambda: a @ a, where) for _ in range(5))


@contextlib.contextmanager
def steady(where: torch.device, count: int) -> Iterator[None]:
    """Fix threads and, on a CPU, the order of every sum: the same bits each time. Then undo it."""
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    products = torch.get_float32_matmul_precision()
    fill = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    torch.set_num_threads(count)
    if where.type == "cpu":
        torch.use_deterministic_algorithms(True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    else:
        torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])
        torch.set_float32_matmul_precision(products)
        torch.utils.deterministic.fill_uninitialized_memory = fill  # type: ignore[attr-defined]


def attention(where: torch.device) -> contextlib.AbstractContextManager[None]:
    """Scaled dot products by cuDNN's kernel where it is the fastest, from Hopper on."""
    if where.type == "cuda" and torch.cuda.get_device_capability(where) >= (9, 0):
        rest = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
        return sdpa_kernel([SDPBackend.CUDNN_ATTENTION, *rest], set_priority=True)
    return contextlib.nullcontext()


def synchronize(where: torch.device) -> None:
    """Wait until the device has done what it was given, so that a clock tells the truth."""
    if where.type == "cuda":
        torch.cuda.synchronize(where)


def measure(offline: bool = False) -> dict[str, Any]:
    """What `doctor` shows: the machine, and its rates measured in about a second (best of five)."""
    from domainlm.training.energy import Energy

    where = device()
    chosen = precision("auto", where)
    block = torch.zeros(2**30 if where.type == "cuda" else 2**26, dtype=torch.uint8, device=where)
    target = torch.zeros_like(block)
    copy = min(seconds(lambda: target.copy_(block), where) for _ in range(5))
    vendor = vendor_flops(where, chosen)
    stock = resolve(Evaluate().stock, offline)
    return {
        "device": device_name(where),
        "threads": threads(),
        "precision": chosen,
        "compiler": can_compile(where.type),
        "memory_gb": round(memory(where) / 1e9, 1),
        "disk_free_gb": round(shutil.disk_usage(".").free / 1e9, 1),
        "matmul_tflops": round(matmul_flops(where, chosen) / 1e12, 3),
        "vendor_tflops": "unknown" if vendor is None else vendor / 1e12,
        "copy_gb_per_second": round(2 * block.numel() / copy / 1e9, 1),  # read and written
        "energy": Energy(where).method,
        "torch": str(torch.__version__),
        "stock_model": stock.name if stock else "none resolves",
    }


def seconds(work: Any, where: torch.device) -> float:
    """Seconds that `work()` takes, the device's part included."""
    synchronize(where)
    began = time.perf_counter()
    work()
    synchronize(where)
    return time.perf_counter() - began
