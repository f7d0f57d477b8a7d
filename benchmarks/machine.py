"""The machine a benchmark ran on, and the versions of what it used."""

import os
import platform
import subprocess
from pathlib import Path

import torch

from continual_repmode import __version__
from continual_repmode.runtime import package_versions

PACKAGES = ("torch", "numpy", "monai")


def describe_machine(device: torch.device) -> dict[str, str]:
    """Return processor, cores, memory, and the CUDA device if one is used."""
    machine = {
        "processor": _processor(),
        "cores": f"{os.cpu_count()}, {torch.get_num_threads()} threads used",
        "system": f"{platform.system()} {platform.machine()}",
    }
    pages = os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    if pages:
        machine["memory"] = f"{pages * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB"
    if device.type == "cuda":
        card = torch.cuda.get_device_properties(device)
        machine["card"] = f"{card.name}, {card.total_memory / 2**30:.0f} GiB"
    else:
        machine["instructions"] = torch.backends.cpu.get_cpu_capability()
    return machine


def describe_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that matter."""
    found = {"continual_repmode": _revision(), "python": platform.python_version()}
    return found | package_versions(PACKAGES)


def _revision() -> str:
    """Return the version of this package, with the state of the checkout if any."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always"]
    described = subprocess.run(
        [*command, "--dirty"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return f"{__version__} ({described})" if described else __version__


def _processor() -> str:
    """Return the name of the processor, in full where Linux tells it."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()
