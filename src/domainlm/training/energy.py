"""Energy that training draws, from the hardware's own meters, or "not measured": never a zero."""

import contextlib
import threading
import time
from pathlib import Path
from typing import Any

import torch

from domainlm.training import distributed

NOT_MEASURED = "not measured"
SAMPLE_SECONDS = 0.5


class Energy:
    """Joules drawn since the object was made.

    The GPU's energy counter (NVML); where it has none, its power, sampled twice a second; without
    a GPU the processor's counter (RAPL, where it may be read). `method` says which; where there is
    none, and where several processes have a GPU each, `joules()` is None.
    """

    def __init__(self, where: torch.device) -> None:
        self.method = NOT_MEASURED
        self._used = 0.0
        self._nvml: Any = None
        self._sampler: Sampler | None = None
        self._rapl: list[tuple[Path, int]] = []  # counter, and the microjoules at which it wraps
        with contextlib.suppress(Exception):  # any failure here means: not measured
            if where.type != "cuda":
                self._open_rapl()
            elif distributed.size() == 1:  # else it would be one GPU's of many
                self._open_nvml(where)
        self._last = self._counters()

    def _open_nvml(self, where: torch.device) -> None:
        import pynvml

        pynvml.nvmlInit()
        identity = "GPU-" + str(torch.cuda.get_device_properties(where).uuid)
        handle = pynvml.nvmlDeviceGetHandleByUUID(identity)
        try:
            pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
        except pynvml.NVMLError:
            read = lambda: pynvml.nvmlDeviceGetPowerUsage(handle) / 1e3  # noqa: E731
            self._sampler = Sampler(read)
            self.method = f"NVML power of the GPU, every {SAMPLE_SECONDS} s"
        else:
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
        if self._sampler is not None:
            return self._sampler.joules
        now = self._counters()
        change = [new - old for new, old in zip(now, self._last, strict=True)]
        if self._rapl:
            change = [c % wrap for c, (_, wrap) in zip(change, self._rapl, strict=True)]
        self._used += sum(change) * (1e-6 if self._rapl else 1e-3)
        self._last = now
        return self._used


class Sampler:
    """Adds up power, `read()` in watts, in a thread that ends with the process."""

    def __init__(self, read: Any, every: float = SAMPLE_SECONDS) -> None:
        read()  # a meter that fails does so here
        self.joules = 0.0
        self._read, self._every = read, every
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        last = time.monotonic()
        while True:
            time.sleep(self._every)
            with contextlib.suppress(Exception):
                watts, now = self._read(), time.monotonic()
                self.joules += watts * (now - last)
                last = now
