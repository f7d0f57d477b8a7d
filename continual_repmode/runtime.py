"""The machine a run happens on: random seeds, devices, versions of what it uses."""

import platform
import random
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch

from continual_repmode.errors import UserError
from continual_repmode.files import replacing

PRECISIONS: dict[str, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
"""Of a network's arithmetic in training; the shorter ones by autocast."""

_PACKAGES = ("continual-repmode", "torch", "avalanche-lib", "numpy", "scipy")


def seed_everything(*entropy: int) -> None:
    """Seed Python, numpy and torch with one value derived from ``entropy``.

    A sequence such as ``(seed, experience, epoch)`` gives every part of a run its own
    random numbers, so a resumed run needs no stored generator state.
    """
    words = np.random.SeedSequence(entropy).generate_state(2, np.uint32)
    seed = int(words[0])
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - Avalanche draws from the global generator
    torch.manual_seed(int(words[1]) << 32 | seed)


def resolve_device(name: str) -> torch.device:
    """Turn ``auto``, ``cpu``, ``cuda`` or ``cuda:1`` into a usable device.

    Raises
    ------
    UserError
        If the name is unknown, or the device is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"device={name!r}: use auto, cpu or cuda") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"device={name!r}: no CUDA device is here; use cpu")
    return device


def versions() -> dict[str, str]:
    """Return the versions of Python, the system and the packages that matter."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    return found | package_versions(_PACKAGES)


def package_versions(packages: Sequence[str]) -> dict[str, str]:
    """Return the version of each package, or that it is not installed."""
    found: dict[str, str] = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def write_text_atomically(path: Path, text: str) -> None:
    """Write ``text`` to a temporary file next to ``path``, then rename it."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")
