"""Predict a volume that is in memory."""

from collections.abc import Sequence

import torch
from torch import Tensor

from continual_repmode.errors import UserError
from continual_repmode.inference.allocation import Predict
from continual_repmode.inference.streaming import predict_stream
from continual_repmode.inference.volume_ends import TensorSink, TensorSource
from continual_repmode.inference.windows import DEFAULT_OVERLAP, Overlap


def predict_volume(
    predict: Predict,
    volume: Tensor,
    *,
    window: Sequence[int] = (32, 128, 128),
    overlap: Overlap = DEFAULT_OVERLAP,
    batch_size: int = 1,
    memory: int | None = None,
    device: torch.device | str | None = None,
    progress: bool = False,
) -> Tensor:
    """Predict a volume of any size from windows of a fixed one.

    Parameters
    ----------
    predict : callable
        Maps windows (B, 1, z, y, x) to predictions (B, C, z, y, x); a network must be
        in evaluation mode already, or its statistics would depend on the batch.
    volume : Tensor, shape (Z, Y, X) or (1, Z, Y, X)
        The z-scored signal.
    window, overlap, batch_size, progress
        As for :func:`~continual_repmode.inference.streaming.predict_stream`.
    memory : int, optional
        Bytes to stay within, beside the volume and the result.
    device : torch.device or str, optional
        Where ``predict`` runs; by default where the volume is.

    Returns
    -------
    Tensor of float32
        On the device of ``volume``. Of its shape where ``predict`` gives one channel,
        else of shape (C, Z, Y, X).

    Raises
    ------
    UserError
        As for :func:`~continual_repmode.inference.streaming.predict_stream`, or if the
        volume has another shape.
    """
    shape = tuple(volume.shape)
    if volume.ndim not in (3, 4) or shape[:-3] not in ((), (1,)) or 0 in shape:
        raise UserError(
            f"volume: expected shape (Z, Y, X) or (1, Z, Y, X), got {shape}"
        )
    source = TensorSource(volume.reshape(shape[-3:]))
    sink = TensorSink(source.shape, volume.device)
    predict_stream(
        predict,
        source,
        sink,
        window=window,
        overlap=overlap,
        batch_size=batch_size,
        memory=memory,
        device=volume.device if device is None else device,
        progress=progress,
    )
    prediction = sink.prediction
    return prediction.reshape(shape) if len(prediction) == 1 else prediction
