import logging
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from continual_repmode.errors import UserError
from continual_repmode.inference import memory as memory_module
from continual_repmode.inference.memory import memory_needed
from continual_repmode.inference.streaming import predict_stream
from continual_repmode.inference.volume_ends import TensorSink, TensorSource
from continual_repmode.inference.windows import Box, Size3, WindowGrid

CPU = torch.device("cpu")


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def two_channels(windows: Tensor) -> Tensor:
    """Predict something that depends on the place within the window."""
    z, y, x = (torch.arange(side) for side in windows.shape[2:])
    place = 0.1 * z[:, None, None] - 0.3 * y[:, None] + 0.07 * x
    return torch.cat([windows.square() - place, windows * place], dim=1)


def slow_reference(
    volume: Tensor, window: Size3, overlap: float, num_channels: int = 2
) -> Tensor:
    """Average predictions over all windows in float64, the whole volume at once."""
    grid = WindowGrid.over(volume.shape, window, overlap)
    offsets = [
        (torch.arange(side, dtype=torch.float64) - side // 2) / (side / 8)
        for side in grid.sides
    ]
    z, y, x = (torch.exp(-(offset**2) / 2) for offset in offsets)
    weights = z[:, None, None] * y[:, None] * x
    total = torch.zeros(num_channels, *grid.shape, dtype=torch.float64)
    weight_sum = torch.zeros(grid.shape, dtype=torch.float64)
    for az in grid.starts[0]:
        for ay in grid.starts[1]:
            for ax in grid.starts[2]:
                box = tuple(
                    slice(a, a + side)
                    for a, side in zip((az, ay, ax), grid.sides, strict=True)
                )
                predicted = two_channels(volume[box].double()[None, None])[0]
                total[:, *box] += weights * predicted
                weight_sum[box] += weights
    return total / weight_sum


class StrictSource(TensorSource):
    """Fails if more than a few planes are read, or planes are read again in a band."""

    def __init__(self, signal: Tensor) -> None:
        super().__init__(signal)
        self.num_read = 0
        self._next: dict[tuple[int, ...], int] = {}

    def read(self, box: Box) -> Tensor:
        z, y, x = box
        band = (y.start, y.stop, x.start, x.stop)
        assert z.start == self._next.get(band, 0)
        assert z.stop - z.start <= 4
        self._next[band] = z.stop
        block = super().read(box)
        self.num_read += block.numel()
        return block


class StrictSink(TensorSink):
    """Fails if a voxel comes twice or planes of a band do not come with rising Z."""

    def __init__(self, shape: Size3) -> None:
        super().__init__(shape, CPU)
        self.written = torch.zeros(shape, dtype=torch.int)
        self.num_bands = 0
        self._next = 0

    def write(self, box: Box, block: Tensor) -> None:
        if box[0].start == 0:
            self.num_bands += 1
            self._next = 0
        assert box[0].start == self._next
        self._next = box[0].stop
        super().write(box, block)
        self.written[box] += 1


def stream(
    volume: Tensor, window: Size3, overlap: float, **arguments: object
) -> StrictSink:
    sink = StrictSink(tuple(volume.shape))
    predict_stream(
        two_channels,
        StrictSource(volume),
        sink,
        window=window,
        overlap=overlap,
        **arguments,
    )
    assert (sink.written == 1).all()
    return sink


shapes = st.tuples(st.integers(1, 16), st.integers(1, 24), st.integers(1, 24))
windows = st.tuples(st.integers(2, 8), st.integers(4, 10), st.integers(4, 10))
overlaps = st.sampled_from([0.0, 0.2, 0.5, 0.6])


@settings(deadline=None, max_examples=50)
@given(shapes, windows, overlaps, st.integers(1, 40))
def test_every_voxel_is_the_weighted_mean_of_its_windows(
    shape: Size3, window: Size3, overlap: float, batch_size: int
) -> None:
    volume = noise(*shape)

    found = stream(volume, window, overlap, batch_size=batch_size).prediction

    expected = slow_reference(volume, window, overlap)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)


@settings(deadline=None, max_examples=50)
@given(shapes, windows, overlaps, st.integers(1, 40), st.floats(0, 1))
def test_bounds_on_memory_and_batches_change_no_bit(
    shape: Size3, window: Size3, overlap: float, batch_size: int, tightness: float
) -> None:
    volume = noise(*shape)
    options = {"window": window, "overlap": overlap}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory_module, "_MARGIN_BYTES", 0)  # or all would fit
        enough = memory_needed(two_channels, shape, batch_size=batch_size, **options)
        least = memory_needed(two_channels, shape, batch_size=1, **options) // 3
        bound = int(enough + tightness * (least - enough))
        expected = stream(volume, window, overlap)
        try:
            found = stream(volume, window, overlap, batch_size=batch_size, memory=bound)
        except UserError:  # not even a window fits
            return

    assert torch.equal(found.prediction, expected.prediction)


def test_a_tight_bound_cuts_both_axes() -> None:
    volume = noise(8, 120, 160)
    expected = stream(volume, (4, 16, 16), 0.5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory_module, "_MARGIN_BYTES", 0)
        found = stream(volume, (4, 16, 16), 0.5, memory=200_000, batch_size=4)

    assert expected.num_bands == 1
    assert found.num_bands > 20
    assert torch.equal(found.prediction, expected.prediction)


def test_planes_leave_as_soon_as_no_window_touches_them() -> None:
    seen: list[str] = []

    class Source(TensorSource):
        def read(self, box: Box) -> Tensor:
            seen.append(f"read {box[0].start}-{box[0].stop}")
            return super().read(box)

    class Sink(TensorSink):
        def write(self, box: Box, block: Tensor) -> None:
            seen.append(f"write {box[0].start}-{box[0].stop}")
            super().write(box, block)

    sink = Sink((10, 6, 6), CPU)
    predict_stream(lambda x: x, Source(noise(10, 6, 6)), sink, window=(4, 4, 4))

    assert seen == [
        "read 0-4",
        "write 0-2",
        "read 4-6",
        "write 2-4",
        "read 6-8",
        "write 4-6",
        "read 8-10",
        "write 6-10",
    ]


@settings(deadline=None, max_examples=50)
@given(shapes, windows, overlaps)
def test_a_constant_prediction_has_no_seams(
    shape: Size3, window: Size3, overlap: float
) -> None:
    sink = StrictSink(shape)
    predict_stream(
        lambda x: torch.full_like(x, 3.7),
        TensorSource(noise(*shape)),
        sink,
        window=window,
        overlap=overlap,
    )

    torch.testing.assert_close(
        sink.prediction, torch.full((1, *shape), 3.7), rtol=1e-5, atol=0
    )


class SmallDevice:
    """Predicts up to so many windows at a time, and has no memory for more."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.batches: list[int] = []

    def __call__(self, windows: Tensor) -> Tensor:
        self.batches.append(len(windows))
        if len(windows) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return two_channels(windows)


def test_the_batch_halves_when_memory_runs_out_and_the_run_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    volume = noise(9, 20, 20)
    predict, sink = SmallDevice(most=5), StrictSink((9, 20, 20))

    with caplog.at_level(logging.WARNING):
        predict_stream(
            predict,
            TensorSource(volume),
            sink,
            window=(4, 8, 8),
            overlap=0.5,
            batch_size=16,
        )

    assert predict.batches[:3] == [16, 8, 4]
    assert max(predict.batches[2:]) == 4
    assert [r.message.split(";")[1] for r in caplog.records] == [
        " going on with 8",
        " going on with 4",
    ]
    assert torch.equal(sink.prediction, stream(volume, (4, 8, 8), 0.5).prediction)


def test_memory_that_runs_out_later_keeps_what_was_done() -> None:
    volume = noise(9, 20, 20)
    predict, sink = SmallDevice(most=6), StrictSink((9, 20, 20))

    def run_down(windows: Tensor) -> Tensor:
        if len(predict.batches) == 4:
            predict.most = 1
        return predict(windows)

    predict_stream(
        run_down,
        TensorSource(volume),
        sink,
        window=(4, 8, 8),
        overlap=0.5,
        batch_size=6,
    )

    num_windows = WindowGrid.over((9, 20, 20), (4, 8, 8), 0.5).num_windows
    assert predict.batches[:7] == [6, 6, 6, 6, 6, 3, 1]
    assert len(predict.batches) == 6 + num_windows - 24
    assert torch.equal(sink.prediction, stream(volume, (4, 8, 8), 0.5).prediction)


def test_a_window_that_does_not_fit_the_device_is_named() -> None:
    with pytest.raises(UserError, match=r"window=\[4, 8, 8\] with batch_size=1: cpu"):
        predict_stream(
            SmallDevice(most=0),
            TensorSource(noise(9, 20, 20)),
            TensorSink((9, 20, 20), CPU),
            window=(4, 8, 8),
            batch_size=8,
        )


def test_planes_that_do_not_fit_the_device_are_named() -> None:
    class Full(TensorSink):
        def write(self, box: Box, block: Tensor) -> None:
            raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(UserError, match=r"memory=None: cpu .* narrower bands"):
        predict_stream(lambda x: x, TensorSource(noise(4, 4, 4)), Full((4, 4, 4), CPU))


def test_a_function_that_keeps_what_it_saw_of_the_estimate_is_refused() -> None:
    kept: list[Tensor] = []

    def predict(windows: Tensor) -> Tensor:
        if not kept:
            kept.append(torch.ones(1) * 2)
        return windows * kept[0]

    def run() -> None:
        predict_stream(
            predict, TensorSource(noise(4, 4, 4)), StrictSink((4, 4, 4)), memory=10**8
        )

    with pytest.raises(UserError, match="call it on a small window before"):
        run()
    kept.clear()
    predict(noise(1, 1, 2, 2, 2))
    run()


def test_the_bar_counts_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal:
        text = ""

        def write(self, text: str) -> None:
            self.text += text

        def flush(self) -> None:
            pass

        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)

    stream(noise(8, 16, 16), (4, 8, 8), 0.5, progress=True, batch_size=4)
    assert "27/27" in terminal.text
    assert "window/s" in terminal.text

    terminal.text = ""
    stream(noise(8, 16, 16), (4, 8, 8), 0.5)
    assert terminal.text == ""
