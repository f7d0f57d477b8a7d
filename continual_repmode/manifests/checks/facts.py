"""What can be measured of a volume and of a pair, without judging it.

All statistics are taken plane by plane, so that memory for one plane is enough.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from continual_repmode.manifests.checks.intensities import measure_intensities
from continual_repmode.manifests.checks.registration import (
    averaged,
    block_size,
    register,
)
from continual_repmode.volumes.padding import Padding, hidden_voxels
from continual_repmode.volumes.plausibility import detail

FACTS_VERSION = 3
"""Counts up whenever the same voxels would give other facts: they are kept on disk."""


@dataclass(frozen=True, slots=True)
class ChannelFacts:
    """One channel of a volume, in the intensities of the file."""

    #: (Z, Y, X).
    shape: tuple[int, int, int]
    #: Name of the type, such as ``uint16``.
    dtype: str
    #: BLAKE2b of type, shape and voxels; equal for equal volumes only.
    digest: str
    #: Over the finite voxels; 0 if there are none.
    minimum: float
    maximum: float
    mean: float
    std: float
    #: Voxels that are NaN or infinite, padding left aside.
    num_nonfinite: int
    #: Share (0 to 1) of the voxels at the maximum if they pile up there, at the limit
    #: of the type or anywhere below; else 0.
    saturated: float
    #: Share (0 to 1) of the voxels at the minimum.
    at_minimum: float
    #: Distinct values among the central 99.98 % of the voxels.
    num_levels: int
    #: How much of the contrast changes within two (averaged) pixels, 0 to about 4; the
    #: gain and the offset of a camera do not matter.
    sharpness: float
    #: Where along z the fine detail lies: 0 the first plane, 1 the last.
    focus: float
    #: Share (0 to 1) of the voxels that are padding
    #: (:mod:`continual_repmode.volumes.padding`). All else is of the recorded voxels.
    padding: float = 0.0
    #: Its values.
    padding_of: str = ""

    @property
    def is_constant(self) -> bool:
        """Whether all finite voxels are equal."""
        return self.minimum == self.maximum

    @property
    def usable(self) -> bool:
        """Whether a z-score can be taken of it."""
        return self.num_nonfinite == 0 and not self.is_constant

    @property
    def is_mask(self) -> bool:
        """Whether most of what is not background has one and the same value."""
        between = 1 - self.saturated - self.at_minimum
        return self.num_levels <= 2 or (
            self.at_minimum > 0.05 and self.saturated > between
        )


@dataclass(frozen=True, slots=True)
class PairFacts:
    """A pair of transmitted light and fluorescence."""

    signal: ChannelFacts
    target: ChannelFacts
    #: How far the target lies down and to the right of the light, in raw pixels; None
    #: if their shapes differ or the two images do not show it.
    shift_yx_px: tuple[float, float] | None
    #: Height of the best match of the two over the next best. 0 where they could not be
    #: compared.
    shift_confidence: float

    @property
    def usable(self) -> bool:
        """Whether both channels can be prepared."""
        return self.signal.usable and self.target.usable


def measure_pair(signal_raw: NDArray[Any], target_raw: NDArray[Any]) -> PairFacts:
    """Measure both channels of a pair and how they lie to each other.

    ``signal_raw``, ``target_raw``: (Z, Y, X); intensities of the file.
    """
    light, own = hidden_voxels(signal_raw), hidden_voxels(target_raw, strict=True)
    hidden = own and own[1]
    shift, confidence = None, 0.0
    if signal_raw.shape == target_raw.shape:
        if light is not None:  # a target counts only where there is light
            hidden = light[1] if hidden is None else light[1] | hidden
        found = register(
            _filled(signal_raw, light and light[1]), _filled(target_raw, hidden)
        )
        shift, confidence = found.shift_yx_px, found.prominence
    return PairFacts(
        measure_channel(signal_raw, light and light[1], light and light[0]),
        measure_channel(target_raw, hidden, own and own[0]),
        shift,
        confidence,
    )


def measure_channel(
    raw: NDArray[Any],
    hidden: NDArray[np.bool_] | None = None,
    padding: Padding | None = None,
) -> ChannelFacts:
    """Measure one channel.

    ``raw``: (Z, Y, X); integers, floats or truth values, in any byte and memory order.
        Constant channels, NaN and infinity are measured like all others.
    ``hidden``: (Z, Y, X); voxels to leave out, where nothing was recorded.
    Raises ValueError if it is no volume of numbers.
    """
    if raw.ndim != 3 or raw.size == 0 or raw.dtype.kind not in "buif":
        raise ValueError(f"need real numbers (Z, Y, X), got {raw.dtype} {raw.shape}")
    z, y, x = raw.shape
    recorded = raw if hidden is None or hidden.all() else raw[~hidden][None, None]
    intensities = measure_intensities(recorded)
    sharpness, focus = _focus(
        _filled(raw, hidden), intensities.minimum, intensities.maximum
    )
    return ChannelFacts(
        shape=(z, y, x),
        dtype=raw.dtype.name,
        digest=_digest(raw),
        minimum=intensities.minimum,
        maximum=intensities.maximum,
        mean=intensities.mean,
        std=intensities.std,
        num_nonfinite=recorded.size - intensities.num_finite,
        saturated=intensities.saturated,
        at_minimum=intensities.at_minimum,
        num_levels=intensities.num_levels,
        sharpness=sharpness,
        focus=focus,
        padding=padding.share if padding else 0.0,
        padding_of=padding.of if padding else "",
    )


def to_json(facts: PairFacts) -> dict[str, Any]:
    """Return the facts as what JSON can hold; :func:`from_json` undoes it exactly."""
    return asdict(facts)


def from_json(values: Mapping[str, Any]) -> PairFacts:
    """Return the facts that :func:`to_json` was given.

    Raises ValueError if these are the facts of another version, or none.
    """
    return msgspec.convert(values, PairFacts)


def _filled(raw: NDArray[Any], hidden: NDArray[np.bool_] | None) -> NDArray[Any]:
    """Return a volume with the mean in place of what was not recorded."""
    if hidden is None or hidden.all():
        return raw
    mean = raw[~hidden].mean(dtype=np.float64)
    return np.where(hidden, mean if np.isfinite(mean) else 0, raw).astype(raw.dtype)


def _digest(raw: NDArray[Any]) -> str:
    """Return a hash of type, shape and voxels, the same for every memory order."""
    stored = raw.dtype.newbyteorder("<")
    digest = hashlib.blake2b(f"{raw.dtype.name} {raw.shape}".encode(), digest_size=20)
    for plane in raw:
        digest.update(np.ascontiguousarray(plane, dtype=stored).tobytes())
    return digest.hexdigest()


def _focus(raw: NDArray[Any], low: float, high: float) -> tuple[float, float]:
    """Return the sharpness and the focus of a channel; see :class:`ChannelFacts`."""
    size = block_size(raw.shape)
    details, contrasts = [], []
    for plane in raw:
        scaled = averaged(plane, size, low, high)
        details.append(detail(scaled))
        contrasts.append(scaled.var())
    found = np.array(details, np.float64)
    contrast = float(np.sum(contrasts, dtype=np.float64))
    sharpness = float(found.sum()) / contrast if contrast > 0 else 0.0
    weight = (found - found.min()) ** 2
    if not weight.sum() > 0:
        return sharpness, 0.5
    return sharpness, float(np.average(np.linspace(0, 1, len(found)), weights=weight))
