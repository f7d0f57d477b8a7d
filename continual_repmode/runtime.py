"""The machine a run happens on: random seeds, devices, versions of what it uses."""

import platform
import random
import sys
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import torch
import torch.nn.functional as F

from continual_repmode.errors import UserError, one_line

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
    """Turn ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps`` into a usable device.

    ``auto`` is a CUDA device or, without one, Apple's GPU (``mps``) if a 3D network
    runs there; otherwise the CPU, which is told in one line where ``mps`` was tried.

    Raises UserError if the name is unknown, or the device is not there or cannot run a
        network.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        if torch.backends.mps.is_available():
            fault = _network_fault("mps")
            if fault is None:
                return torch.device("mps")
            _say_once(f"device=auto: using the CPU; mps lacks an operation ({fault})")
        return torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"device={name!r}: use auto, cpu, cuda or mps") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"device={name!r}: no CUDA device is here; use cpu")
    if device.type == "mps":
        if not torch.backends.mps.is_available():
            raise UserError(f"device={name!r}: no Apple GPU is here; use cpu")
        fault = _network_fault("mps")
        if fault is not None:
            raise UserError(f"device={name!r}: lacks an operation ({fault}); use cpu")
    return device


def computes_bf16(device: torch.device) -> bool:
    """Tell whether a device has instructions for bfloat16; emulated, it is slow."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return True
    features = torch.cpu.get_capabilities()
    return any(features.get(name) for name in ("avx512_bf16", "amx_bf16", "sve_bf16"))


@cache
def _network_fault(device: str) -> str | None:
    """Return what keeps a 3D U-Net from learning on a device, None if nothing does.

    Tried are the operations that PyTorch had long only for other devices, 3D transposed
    convolution above all, with their gradients.
    """
    try:
        signal = torch.ones(2, 4, 4, 4, 4, device=device, requires_grad=True)
        kernel = torch.ones(4, 4, 2, 2, 2, device=device, requires_grad=True)
        features = F.conv3d(signal, kernel, stride=2)
        features = F.conv_transpose3d(features, kernel, stride=2)
        features = F.conv3d(features, kernel[:, :1], padding=1, groups=4)
        features = F.batch_norm(features, None, None, training=True)
        torch.autograd.backward(features.relu().square().mean())
    except (NotImplementedError, RuntimeError) as error:
        return one_line(str(error).partition("\n")[0])[:100]
    return None


@cache
def _say_once(line: str) -> None:
    print(line, file=sys.stderr)


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
