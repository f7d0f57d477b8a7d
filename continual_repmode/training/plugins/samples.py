"""Keeps one test prediction of every task for the figures."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from continual_repmode import distributed
from continual_repmode.data.collection import Pair
from continual_repmode.files import write_whole
from continual_repmode.training.avalanche_api import SupervisedPlugin
from continual_repmode.training.context import context_of

_LARGEST = (64, 256, 256)
_NOTE = (
    "for pictures: float16, and the box (start, stop) of a volume of this shape; "
    "scores computed from it differ from those of the run, which are of all of it in "
    "float32"
)


class SamplesPlugin(SupervisedPlugin):  # type: ignore[misc] # Avalanche is untyped
    """Save signal, target and prediction of the first test image of every task.

    Files are ``<task>.npz`` with ``signal``, ``target``, ``prediction`` (float16,
    z-scored, (Z, Y, X), the middle of large volumes), ``image`` (its name), ``shape``
    of the whole volume, the ``box`` (start and stop along Z, Y and X) that was cut from
    it, and a ``note`` that these are for pictures: the scores of a run are of the whole
    volume in float32.

    ``folder``: where the files go; those of an earlier evaluation are replaced.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._left: list[tuple[Pair, bool]] = []

    def before_eval_exp(self, strategy: Any, **_: Any) -> None:
        """Note which images of the experience are the first of their task."""
        pairs = context_of(strategy.experience).pairs
        tasks = [pair.task for pair in pairs]
        firsts = [(p, tasks.index(p.task) == i) for i, p in enumerate(pairs)]
        self._left = list(reversed(distributed.share(firsts)))

    def after_eval_iteration(self, strategy: Any, **_: Any) -> None:
        """Save the volume if it is the first of its task.

        Of several processes, the one that has predicted it does.
        """
        pair, is_first = self._left.pop()
        if not is_first:
            return
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            signal=_middle(strategy.mb_x),
            target=_middle(strategy.mb_y),
            prediction=_middle(strategy.mb_output),
            image=pair.name,
            shape=np.array(strategy.mb_x.shape[2:]),
            box=np.array([(s.start, s.stop) for s in _box(strategy.mb_x)]),
            note=_NOTE,
        )
        write_whole(self._folder / f"{pair.task}.npz", buffer.getvalue())


def _box(volume: Tensor) -> tuple[slice, ...]:
    """Return the middle of a volume (1, 1, Z, Y, X) that is kept of it."""
    return tuple(
        slice((size - min(size, most)) // 2, (size + min(size, most)) // 2)
        for size, most in zip(volume.shape[2:], _LARGEST, strict=True)
    )


def _middle(volume: Tensor) -> Any:
    return volume[0, 0].cpu().numpy()[_box(volume)].astype(np.float16)
