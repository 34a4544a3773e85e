"""The machine: what it computes with, how much fits, how fast it is, what it draws."""

import contextlib
import os
import platform
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import torch

from domainlm.pretrained import resolve
from domainlm.recipe import Evaluate

Precision = Literal["bf16", "fp32"]
NOT_MEASURED = "not measured"


def device() -> torch.device:
    """The GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


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


def micro_batch(config: Any, weights: int, context: int, windows: int, where: torch.device) -> int:
    """Windows a pass, of the `windows` of a step: the most that fits, within reason.

    The estimate, in float32: 16 bytes a weight for weight, gradient and two moments; about 40
    values a layer and unit of width for activations (after Korthikanti et al. 2022), and three
    rows of logits, a token. A CPU works best from its caches, so it gets at most 2,048 tokens.
    """
    room = memory(where) * (0.8 if where.type == "cuda" else 0.4) - 16 * weights
    values = 40 * config.num_hidden_layers * config.hidden_size + 3 * config.vocab_size
    limit = 65_536 if where.type == "cuda" else 2_048
    most: int = max(1, min(limit, int(room) // (4 * values)) // context)
    passes = -(-windows // min(most, windows))
    return -(-windows // passes)  # equal passes, as few as fit


@contextlib.contextmanager
def steady(where: torch.device, count: int) -> Iterator[None]:
    """Fix threads and, on a CPU, the order of every sum: the same bits each time. Then undo it."""
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
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
        torch.utils.deterministic.fill_uninitialized_memory = fill  # type: ignore[attr-defined]


def synchronize(where: torch.device) -> None:
    """Wait until the device has done what it was given, so that a clock tells the truth."""
    if where.type == "cuda":
        torch.cuda.synchronize(where)


class Energy:
    """Energy drawn since the object was made, in joules, by a counter of the hardware.

    The GPU's own counter (NVML), or the processor package's (RAPL, where it may be read). Where
    there is neither, `joules()` is None: unknown is not zero. `method` says what was counted.
    """

    def __init__(self, where: torch.device) -> None:
        self.method = NOT_MEASURED
        self._used = 0.0
        self._nvml: Any = None
        self._rapl: list[tuple[Path, int]] = []  # counter, and the microjoules at which it wraps
        with contextlib.suppress(Exception):  # any failure here means: not measured
            self._open_nvml(where) if where.type == "cuda" else self._open_rapl()
        self._last = self._counters()

    def _open_nvml(self, where: torch.device) -> None:
        import pynvml

        pynvml.nvmlInit()
        identity = "GPU-" + str(torch.cuda.get_device_properties(where).uuid)
        handle = pynvml.nvmlDeviceGetHandleByUUID(identity)
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
        self._nvml, self.method = handle, "NVML energy counter of the GPU"

    def _open_rapl(self) -> None:
        for zone in sorted(Path("/sys/class/powercap").glob("intel-rapl:?")):
            wrap = int((zone / "max_energy_range_uj").read_text())
            int((zone / "energy_uj").read_text())  # root's alone on many machines
            self._rapl.append((zone / "energy_uj", wrap))
        if self._rapl:
            self.method = "RAPL energy counter of the processor"

    def _counters(self) -> list[int]:
        if self._nvml is not None:
            import pynvml

            return [pynvml.nvmlDeviceGetTotalEnergyConsumption(self._nvml)]  # millijoules
        return [int(path.read_text()) for path, _ in self._rapl]  # microjoules

    def joules(self) -> float | None:
        """Joules since the start. Call it at least every few minutes: RAPL counters wrap."""
        if self.method == NOT_MEASURED:
            return None
        now = self._counters()
        change = [new - old for new, old in zip(now, self._last, strict=True)]
        if self._rapl:
            change = [c % wrap for c, (_, wrap) in zip(change, self._rapl, strict=True)]
        self._used += sum(change) * (1e-6 if self._rapl else 1e-3)
        self._last = now
        return self._used


def measure(offline: bool = False) -> dict[str, Any]:
    """What `doctor` shows: the machine, and its rates measured in about a second (best of five)."""
    where = device()
    chosen = precision("auto", where)
    dtype = torch.bfloat16 if chosen == "bf16" else torch.float32
    size = 8192 if where.type == "cuda" else 1024
    a = torch.randn(size, size, device=where).to(dtype)
    block = torch.zeros(2**30 if where.type == "cuda" else 2**26, dtype=torch.uint8, device=where)
    target = torch.zeros_like(block)
    product = min(_seconds(lambda: a @ a, where) for _ in range(5))
    copy = min(_seconds(lambda: target.copy_(block), where) for _ in range(5))
    stock = resolve(Evaluate().stock, offline)
    return {
        "device": device_name(where),
        "threads": threads(),
        "precision": chosen,
        "memory_gb": round(memory(where) / 1e9, 1),
        "disk_free_gb": round(shutil.disk_usage(".").free / 1e9, 1),
        "matmul_tflops": round(2 * size**3 / product / 1e12, 3),
        "copy_gb_per_second": round(2 * block.numel() / copy / 1e9, 1),  # read and written
        "energy": Energy(where).method,
        "torch": str(torch.__version__),
        "stock_model": stock.name if stock else "none resolves",
    }


def _seconds(work: Any, where: torch.device) -> float:
    synchronize(where)
    began = time.perf_counter()
    work()
    synchronize(where)
    return time.perf_counter() - began
