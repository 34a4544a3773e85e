"""What is here: the machine without its name, and the packages that are installed."""

import contextlib
import platform
import re
from importlib import metadata
from pathlib import Path

from domainlm.artifacts import sha256_bytes


def host() -> dict[str, str]:
    """The machine without its name: hash of the host, and the GPUs with their driver, if any."""
    identity = platform.node()
    with contextlib.suppress(OSError):
        identity += "\0" + Path("/etc/machine-id").read_text().strip()
    found = {"host_sha256": sha256_bytes(identity.encode())}
    with contextlib.suppress(Exception):  # no NVML, no GPU, no right to ask: nothing to tell
        import pynvml

        pynvml.nvmlInit()
        cards = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        names = [str(pynvml.nvmlDeviceGetName(card)) for card in cards]
        ids = "\0".join(str(pynvml.nvmlDeviceGetUUID(card)) for card in cards)
        if cards:
            found["gpu"] = ", ".join(names)
            found["gpu_sha256"] = sha256_bytes(ids.encode())
            found["driver"] = f"NVIDIA {pynvml.nvmlSystemGetDriverVersion()}"
    return found


def software() -> dict[str, str]:
    """Version of DomainLM and of all that it needs, as installed here; optional extras left out."""
    from packaging.requirements import Requirement

    found: dict[str, str] = {}
    pending = ["domainlm"]
    while pending:
        name = re.sub(r"[-_.]+", "-", pending.pop()).lower()
        if name in found:
            continue
        try:
            package = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        found[name] = package.version
        for text in package.requires or ():
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                pending.append(needed.name)
    return dict(sorted(found.items()))
