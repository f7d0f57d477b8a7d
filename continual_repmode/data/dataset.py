"""Pairs of volumes as PyTorch datasets: random patches to train on, or whole."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from continual_repmode.data.collection import LoadedPair, Pair
from continual_repmode.data.patches import (
    Shape,
    cut,
    foreground_start,
    pad_to,
    random_flips,
    random_start,
)
from continual_repmode.data.variation import UNVARIED, Variation
from continual_repmode.errors import UserError

FLIPS = ("", "X", "Y", "Z", "YX", "ZX", "ZY", "ZYX")
"""Sets of axes along which patches may be flipped."""

_MOST_DRAWS = 10

Sampling = Literal["uniform", "foreground"]
"""Which places of a volume patches come from."""


_drawing_only = ContextVar("drawing only", default=False)


@contextmanager
def drawing_only() -> Iterator[None]:
    """Let patch datasets draw what they would draw, without cutting a patch.

    For a process that takes a share of a batch: its random numbers stay those of one
    process that cuts all. What the datasets return is zero.
    """
    before = _drawing_only.set(True)
    try:
        yield
    finally:
        _drawing_only.reset(before)


class PatchDataset(Dataset[tuple[Tensor, Tensor]]):
    """One random patch of each image per epoch (Section 4, "Implementation details").

    Items are ``(signal, target)``, float32 tensors of shape (1, z, y, x). Where nothing
    was recorded, the signal is 0, its mean, and the target NaN; a patch of which that
    is more than half is drawn again, a few times. All random numbers come from
    PyTorch's global generator.

    ``pairs``: loaded when an item is asked for.
    ``patch_size``: sides (z, y, x) in voxels of the model grid; the paper's are (32,
        128, 128).
    ``flip_axes``: flip each of these axes with probability one half: ``"ZYX"`` as the
        paper does, ``"YX"`` to leave focus alone, ``""`` for no flips.
    ``pad_small``: mirror images smaller than the patch at their faces instead of
        refusing them.
    ``sampling``: "uniform" or "foreground"; ``uniform``: every place is equally likely,
        as in the paper. ``foreground``: places where the target is bright are more
        likely (:func:`~continual_repmode.data.patches.foreground_start`). The loss is
        not corrected for it, so it no longer is an unbiased estimate of the loss over
        whole volumes: it counts bright places more.
    ``variation``: how patches are changed further; not at all unless given. A turned or
        scaled patch is cut from a larger box, as far as the image goes; only beyond
        that is the image mirrored.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        patch_size: Sequence[int],
        flip_axes: str = "ZYX",
        pad_small: bool = False,
        sampling: str = "uniform",
        variation: Variation = UNVARIED,
    ) -> None:
        if len(patch_size) != 3 or min(patch_size) < 1:
            raise UserError(
                f"data.patch_size={list(patch_size)}: use three positive sides [z,y,x]"
            )
        if flip_axes not in FLIPS:
            raise UserError(
                f"data.flip_axes={flip_axes!r}: use one of "
                f"{', '.join(map(repr, FLIPS))}"
            )
        if sampling not in get_args(Sampling):
            raise UserError(
                f"data.sampling={sampling!r}: use {' or '.join(get_args(Sampling))}"
            )
        variation.check_patch(patch_size)
        z, y, x = patch_size
        self.pairs = pairs
        self.patch_size = (z, y, x)
        self.flip_axes = flip_axes
        self.pad_small = pad_small
        self.sampling = sampling
        self.variation = variation

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        pair = self.pairs[index]
        loaded = pair.load()
        signal, target = loaded.signal, loaded.target
        if self.pad_small:
            signal = pad_to(signal, self.patch_size)
            target = pad_to(target, self.patch_size)
        z, y, x = signal.shape
        if any(n < side for n, side in zip((z, y, x), self.patch_size, strict=True)):
            raise UserError(
                f"image {pair.name!r} measures {(z, y, x)} voxels (z, y, x), less than "
                f"the patch {self.patch_size}; make data.patch_size smaller, or set "
                "data.pad_small=true"
            )
        turn = self.variation.draw_turn()
        depth, rows, columns = turn.region(self.patch_size)
        size = depth, min(rows, y), min(columns, x)
        start = self._start(target, size)
        flips = random_flips(self.flip_axes)
        if loaded.hidden:
            for _ in range(_MOST_DRAWS):
                box = cut(target, start, size, ())
                if 2 * int(box.isnan().sum()) <= box.numel():
                    break
                start = self._start(target, size)
        if _drawing_only.get():
            nothing = torch.zeros(1, *self.patch_size)
            return self.variation.change_light(nothing), nothing
        light, wanted = (
            turn.apply(cut(volume, start, size, flips), self.patch_size)
            for volume in (signal, target)
        )
        varied = self.variation.change_light(light)
        return _with_mean(varied, light.isnan()), wanted

    def _start(self, target: NDArray[np.floating], size: Shape) -> Shape:
        """Draw where a patch begins."""
        if self.sampling == "foreground":
            return foreground_start(target, size)
        z, y, x = target.shape
        return random_start((z, y, x), size)


class VolumeDataset(Dataset[tuple[Tensor, Tensor]]):
    """Whole volumes, to validate and test on.

    Items are ``(signal, target)``, float32 tensors of shape (1, Z, Y, X) with memory
    of their own; images may differ in size, so batches hold one. Where nothing was
    recorded, the signal is 0 and the target NaN.

    ``pairs``: loaded when an item is asked for.
    """

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self.pairs = pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        loaded: LoadedPair = self.pairs[index].load()
        signal = _tensor(loaded.signal)
        return _with_mean(signal, signal.isnan()), _tensor(loaded.target)


def _with_mean(signal: Tensor, hidden: Tensor) -> Tensor:
    """Return a signal that is 0, its mean, where nothing was recorded."""
    return signal.masked_fill(hidden, 0) if hidden.any() else signal


def _tensor(volume: NDArray[np.floating]) -> Tensor:
    """Copy a volume (Z, Y, X) into a tensor (1, Z, Y, X) of float32."""
    return torch.from_numpy(np.array(volume)).float()[None]
