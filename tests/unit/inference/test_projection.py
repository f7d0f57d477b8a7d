"""Projections of tensors and of files, against numpy."""

from pathlib import Path

import numpy as np
import pytest
import torch

from continual_repmode.inference.projection import (
    project,
    project_answers,
    project_files,
    projected_like,
)
from continual_repmode.volumes.volume_file import VolumeFile


def stacks() -> np.ndarray:
    rng = np.random.default_rng(0)
    made = rng.normal(size=(2, 1, 5, 6, 7)).astype(np.float32)
    made[0, 0, 3] *= 4
    made[1, 0, 1] *= 4
    return made


def test_projections_are_those_of_numpy_and_have_gradients():
    data = stacks()
    signal = torch.from_numpy(data).requires_grad_()

    highest = project(signal, "max")
    sharpest = project(signal, "focus")

    np.testing.assert_array_equal(highest.detach(), data.max(2, keepdims=True))
    np.testing.assert_array_equal(
        sharpest.detach()[:, 0, 0], [data[0, 0, 3], data[1, 0, 1]]
    )
    (highest.sum() + sharpest.sum()).backward()
    expected = (data == data.max(2, keepdims=True)).astype(np.float32)
    expected[0, 0, 3] += 1
    expected[1, 0, 1] += 1
    np.testing.assert_array_equal(signal.grad, expected)
    for kind in ("max", "focus"):
        everywhere = projected_like(signal, kind)
        assert everywhere.shape == signal.shape
        assert torch.equal(everywhere[:, :, :1], project(signal, kind))
        assert torch.equal(everywhere[:, :, 0], everywhere[:, :, 4])


@pytest.mark.parametrize("kind", ["max", "focus"])
def test_files_and_answers_in_memory_are_projected_alike(tmp_path: Path, kind: str):
    data, deviation = stacks()[0, 0], np.abs(stacks()[1, 0])
    data[:2, :2] = np.nan  # no light there in these planes
    data[:, 0, 0] = np.nan
    files = [VolumeFile(tmp_path / f"{name}.npy", (5, 6, 7)) for name in "ab"]
    planes = [VolumeFile(tmp_path / f"{name}_plane.npy", (1, 6, 7)) for name in "ab"]
    for file, values in zip(files, (data, deviation), strict=True):
        file.create()
        file[:] = values

    project_files(files, planes, kind)

    if kind == "max":
        place = np.where(np.isnan(data), -np.inf, data).argmax(0)[None]
        expected = [np.take_along_axis(v, place, 0) for v in (data, deviation)]
    else:
        expected = [data[3:4], deviation[3:4]]
    np.testing.assert_array_equal(planes[0][:], expected[0])
    known = np.isfinite(expected[0])
    np.testing.assert_array_equal(planes[1][:][known], expected[1][known])
    answers = torch.from_numpy(np.stack([data, deviation]))
    in_memory = project_answers(answers, kind).numpy()
    np.testing.assert_array_equal(in_memory[0], expected[0])
    np.testing.assert_array_equal(in_memory[1][known], expected[1][known])
