import random

import numpy as np
import pytest
import torch

from continual_repmode import runtime
from continual_repmode.errors import UserError
from continual_repmode.runtime import (
    resolve_device,
    seed_everything,
    versions,
)


def draw():
    return random.random(), np.random.rand(), torch.rand(()).item()  # noqa: NPY002


def test_one_seed_fixes_all_three_generators():
    seed_everything(3, 1)
    first = draw()
    seed_everything(3, 1)
    assert draw() == first
    seed_everything(3, 2)
    assert all(one != other for one, other in zip(draw(), first, strict=True))


def test_devices_are_resolved_or_refused():
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device("auto").type in {"cpu", "cuda"}
    with pytest.raises(UserError, match="device='gpu'"):
        resolve_device("gpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_an_apple_gpu_is_taken_only_if_a_network_runs_there(monkeypatch, capsys):
    assert runtime._network_fault("cpu") is None
    with pytest.raises(UserError, match=r"no Apple GPU is here; use cpu"):
        resolve_device("mps")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    real, told = runtime._network_fault, "ConvTranspose 3D is not supported on MPS"
    monkeypatch.setattr(runtime, "_network_fault", lambda _: real("cpu"))
    assert resolve_device("auto") == resolve_device("mps") == torch.device("mps")

    def lacking(*_, **__):
        raise NotImplementedError(f"{told}\nand more")

    real.cache_clear()
    monkeypatch.setattr(torch.nn.functional, "conv_transpose3d", lacking)
    for _ in range(2):
        assert resolve_device("auto") == torch.device("cpu")
    real.cache_clear()
    assert capsys.readouterr().err == (
        f"device=auto: using the CPU; mps lacks an operation ({told})\n"
    )
    with pytest.raises(UserError, match=f"{told}.*; use cpu"):
        resolve_device("mps")
    real.cache_clear()


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_an_absent_cuda_device_is_told():
    with pytest.raises(UserError, match="here; use cpu"):
        resolve_device("cuda")


def test_versions_name_what_a_result_depends_on():
    assert {"python", "torch", "avalanche-lib", "continual-repmode"} <= set(versions())
    assert torch.__version__.startswith(versions()["torch"])
