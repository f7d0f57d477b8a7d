import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from continual_repmode.errors import UserError
from continual_repmode.volumes.resampling import ResizeMethod, resize
from continual_repmode.volumes.stream_resizing import (
    axis_weights,
    least_resize_bytes,
    resize_stream,
)

Shape3 = tuple[int, int, int]
SHAPES = {
    "all shrink": ((24, 60, 61), (11, 22, 23)),
    "all grow": ((11, 22, 23), (24, 60, 61)),
    "z grows, the others shrink": ((20, 60, 61), (33, 22, 23)),
    "z shrinks, the others grow": ((33, 22, 23), (20, 60, 61)),
    "y grows, x shrinks": ((12, 20, 70), (15, 50, 30)),
    "y shrinks, x grows": ((12, 70, 20), (10, 30, 50)),
    "z stays": ((40, 30, 31), (40, 12, 11)),
    "only z changes": ((70, 12, 13), (41, 12, 13)),
    "only x changes": ((5, 12, 13), (5, 12, 31)),
    "one plane": ((1, 30, 31), (1, 12, 50)),
    "one plane becomes many": ((1, 9, 8), (40, 9, 8)),
    "many become one voxel": ((40, 9, 8), (1, 1, 1)),
    "one voxel becomes many": ((1, 1, 1), (35, 4, 3)),
    "more planes than are held": ((150, 9, 8), (110, 12, 5)),
}


@dataclass
class Planes:
    """A volume in memory that remembers which planes were read."""

    volume: np.ndarray
    asked: list[slice] = field(default_factory=list)

    @property
    def shape(self) -> Shape3:
        z, y, x = self.volume.shape
        return z, y, x

    def __getitem__(self, planes: slice) -> np.ndarray:
        self.asked.append(planes)
        return self.volume[planes]


def noise(shape: Shape3) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@contextmanager
def peak_of_memory() -> Iterator[list[int]]:
    peak: list[int] = []
    tracemalloc.start()
    try:
        yield peak
        peak.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("method", ["paper", "fast"])
@pytest.mark.parametrize("case", SHAPES)
def test_the_result_is_that_of_the_whole_volume(
    tmp_path: Path, case: str, method: ResizeMethod
) -> None:
    old, new = SHAPES[case]
    volume = noise(old)
    expected = resize(volume, new, method)
    least = least_resize_bytes(old, new)

    for memory_bytes in (10**9, 2 * least, least):
        source, target = Planes(volume), np.full(new, np.nan, np.float32)
        resize_stream(
            source, target, method, scratch=tmp_path, memory_bytes=memory_bytes
        )
        np.testing.assert_allclose(target, expected, atol=5e-6, rtol=0)
        read = [z for part in source.asked for z in range(part.start, part.stop)]
        assert read == list(range(old[0])), "every plane is read once"
        assert not list(tmp_path.iterdir()), "nothing stays"


@pytest.mark.parametrize(
    ("old", "new"), [((50, 200, 210), (40, 75, 80)), ((40, 75, 80), (50, 200, 210))]
)
def test_memory_stays_within_its_bound(
    tmp_path: Path, old: Shape3, new: Shape3
) -> None:
    least = least_resize_bytes(old, new)
    assert least < 4 * max(np.prod(old), np.prod(new)) / 2, "nothing would be shown"
    axis_weights.cache_clear()

    for memory_bytes in (least, 3 * least):
        source, target = Planes(noise(old)), np.empty(new, np.float32)
        with peak_of_memory() as peak:
            resize_stream(
                source, target, "paper", scratch=tmp_path, memory_bytes=memory_bytes
            )
        assert peak[0] <= memory_bytes


def test_planes_that_are_made_when_they_are_read_count_once(tmp_path: Path) -> None:
    """Those read before were held by the last of them while the next ones came."""
    old, new = (40, 300, 310), (40, 90, 95)

    class Made(Planes):
        def __getitem__(self, planes: slice) -> np.ndarray:
            return super().__getitem__(planes).astype(np.uint16).astype(np.float32)

    source, memory_bytes = Made(noise(old)), 10 * least_resize_bytes(old, new)
    with peak_of_memory() as peak:
        resize_stream(
            *(source, np.empty(new, np.float32), "paper"),
            scratch=tmp_path, memory_bytes=memory_bytes,
        )  # fmt: skip
    assert peak[0] <= memory_bytes


def test_weights_are_those_of_a_whole_axis_and_few() -> None:
    for method in ("paper", "fast"):
        weights = axis_weights(700, 300, method)
        whole = resize(np.eye(700, dtype=np.float32), (300, 700), method)
        np.testing.assert_allclose(weights.toarray(), whole, atol=2e-8)
        assert weights.nnz < 40 * 700


def test_a_volume_of_the_same_shape_is_copied_bit_by_bit(tmp_path: Path) -> None:
    source = Planes(noise((40, 7, 8)))
    target = np.empty((40, 7, 8), np.float32)

    resize_stream(source, target, "paper", scratch=tmp_path)

    np.testing.assert_array_equal(target, source.volume)


def test_the_target_may_be_a_map_of_a_file_in_half_precision(tmp_path: Path) -> None:
    shape = (9, 10, 11)
    target = np.lib.format.open_memmap(tmp_path / "a.npy", "w+", np.float16, shape)
    volume = noise((20, 21, 22))

    resize_stream(Planes(volume), target, "fast", scratch=tmp_path)

    expected = resize(volume, shape, "fast").astype(np.float16)
    np.testing.assert_allclose(np.load(tmp_path / "a.npy"), expected, atol=2e-3)


def test_too_little_memory_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    source, target = Planes(noise((20, 60, 61))), np.zeros((11, 22, 23), np.float32)
    least = least_resize_bytes((20, 60, 61), (11, 22, 23))

    with pytest.raises(UserError, match=r"\(11, 22, 23\) needs .* kB or more"):
        resize_stream(source, target, "paper", scratch=tmp_path, memory_bytes=least - 1)

    assert source.asked == []
