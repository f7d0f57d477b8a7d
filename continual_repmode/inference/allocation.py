"""What ``predict`` allocates, found without computing."""

import logging
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from continual_repmode.errors import UserError
from continual_repmode.inference.windows import Size3

Predict = Callable[[Tensor], Tensor]
"""Maps windows (B, 1, z, y, x) to predictions (B, C, z, y, x)."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Allocation:
    """What ``predict`` holds in memory at most, beside its argument.

    Attributes
    ----------
    channels : int
        Channels it predicts.
    one, many : int
        Bytes for one window, and for ``batch_size``.
    batch_size : int
    """

    channels: int
    one: int
    many: int
    batch_size: int

    def num_bytes(self, batch_size: int) -> int:
        """Return the bytes for a batch of up to ``self.batch_size`` windows.

        The size of each tensor grows linearly with the batch, and the peak is the
        largest of sums of them: a convex function, which lies below its chord.
        """
        if self.batch_size == 1:
            return self.one
        slope = (self.many - self.one) / (self.batch_size - 1)
        return int(self.one + slope * (batch_size - 1))


def allocation_of(
    predict: Predict, sides: Size3, batch_size: int, device: torch.device
) -> Allocation:
    """Find out what ``predict`` allocates.

    It is run on tensors without content, which takes a moment and next to no memory.
    If it cannot be run so (it may look at values), one window of zeros is predicted.

    Parameters
    ----------
    predict : callable
    sides : (int, int, int)
        Of a window.
    batch_size : int
        The largest batch to come.
    device : torch.device
        Where it will run.

    Raises
    ------
    UserError
        If ``predict`` changes the shape.
    """
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
            channels, one = _peak(predict, 1, sides, device)
            many = one
            if batch_size > 1:
                _, many = _peak(predict, batch_size, sides, device)
    except UserError:
        raise
    except Exception as error:  # anything can go wrong in a foreign function
        _log.info("estimating memory by predicting one window, as %r", error)
        channels, one = _peak(predict, 1, sides, device)
        many = one * batch_size
    return Allocation(channels, one, many, batch_size)


def check_prediction(predicted: Tensor, windows: Tensor) -> None:
    """Raise a :class:`UserError` if the prediction does not fit the windows."""
    found, given = tuple(predicted.shape), tuple(windows.shape)
    same = (found[:1], found[2:]) == (given[:1], given[2:])
    if not same or found[1] < 1:
        raise UserError(
            f"predict returned shape {found} for windows of shape {given}; "
            "they must be equal but for the number of channels"
        )


class _LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call] # PyTorch's
    """Follows the storages that operations make, and how many bytes live at once."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # PyTorch's
        self._live = 0
        self.peak = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        outputs = result if isinstance(result, tuple) else (result,)
        for output, kind in zip(outputs, func._schema.returns, strict=False):
            if kind.alias_info is None:  # else a view, or written in place
                for leaf in tree_leaves(output):
                    self._follow(leaf)
        self.peak = max(self.peak, self._live + _scratch(func, args))
        return result

    def _follow(self, made: Any) -> None:
        if isinstance(made, Tensor):
            storage = made.untyped_storage()
            self._live += storage.nbytes()
            weakref.finalize(storage, self._forget, storage.nbytes())

    def _forget(self, num_bytes: int) -> None:
        self._live -= num_bytes


def _scratch(func: Any, args: Any) -> int:
    """Return the bytes of an operation's own copies: oneDNN reorders kernels."""
    if func is torch.ops.aten.convolution.default:
        kernel: Tensor = args[1]
        return kernel.numel() * kernel.element_size()
    return 0


def _peak(
    predict: Predict, batch_size: int, sides: Size3, device: torch.device
) -> tuple[int, int]:
    """Return the channels that ``predict`` gives and the most bytes it holds."""
    windows = torch.zeros(batch_size, 1, *sides, device=device)
    torch.clear_autocast_cache()  # it holds parameters, which are to be counted
    try:
        with torch.no_grad(), _LiveBytes() as live:
            predicted = predict(windows)
    finally:
        torch.clear_autocast_cache()  # or it would hold tensors without content
    check_prediction(predicted, windows)
    return predicted.shape[1], live.peak
