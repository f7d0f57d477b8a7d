"""What surrounds the pixels: borders and wedges of one value.

Stacks that were deskewed, stitched, turned or registered are filled up with zeros, with
their least value or with NaN. Such padding is found plane by plane: it is solid, begins
at the border of its plane, and either no recorded voxel comes near its value, or its
edge is straight. A dark background has values close to its own, and round edges; single
voxels of the value are left alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


class Planes(Protocol):
    """The planes (Y, X) of a channel, one at a time: an array, or a file behind it."""

    def __len__(self) -> int:
        """Return how many there are."""
        ...

    def __getitem__(self, index: int, /) -> NDArray[Any]:
        """Return one plane."""
        ...


_RUN = 8
"""So many voxels of one value in a row along a border are no chance."""
_LEAST_SHARE = 5e-4
"""Less of one value is not worth looking at."""
_NEAR = 0.1
"""How near to the padding no recorded voxel is, as a share of the median distance."""
_BESIDE = 0.75
"""How far beside the padding voxels are from it, as a share of the median distance."""
_FEW = 1e-4
"""Share of dead pixels that a sensor may have."""
_LEAST_LEVELS = 16
"""What has fewer values is a mask, whose background has one value."""
_MOST_PLANES = 24
"""Looked at closely, evenly spread from the first to the last."""
_SAMPLED_OF_A_PLANE = 20_000
_STEP_PX, _STRAIGHT, _COVERED, _MOSTLY_WHOLE = 2, 0.7, 0.95, 0.9
_SQUARE = np.ones((3, 3), bool)


@dataclass(frozen=True, slots=True)
class Padding:
    """The padding of one channel."""

    #: What it consists of; NaN may be among them.
    values: tuple[float, ...]
    #: Of all voxels, 0 to 1.
    share: float

    @property
    def of(self) -> str:
        """The values in words."""
        return " and ".join("NaN" if v != v else f"{v:g}" for v in self.values)


@dataclass(slots=True)
class EdgeScan:
    """Looks at the borders of planes for values that may be padding."""

    _low: float = math.inf
    _runs: set[float] = field(default_factory=set)
    _nan: bool = False

    def add(self, plane: NDArray[Any]) -> None:
        """Look at the next plane (Y, X)."""
        edges = _edges(plane)
        finite = [edge[np.isfinite(edge)] for edge in edges]
        low = min((float(edge.min()) for edge in finite if edge.size), default=math.inf)
        self._low = min(self._low, low)
        if low == self._low or low < 0:
            for value in {low, 0.0} if low < 0 else {low}:
                if any(_has_run(edge == value) for edge in edges):
                    self._runs.add(value)
        if not self._nan and any(finite[k].size < edges[k].size for k in range(4)):
            self._nan = any(_has_run(np.isnan(edge)) for edge in edges)

    def candidates(self) -> list[float]:
        """Return the values that border planes along a line."""
        found = [value for value in {self._low, 0.0} if value in self._runs]
        return [*([math.nan] if self._nan else []), *sorted(found)]


def padding_values(
    planes: Planes, *, strict: bool = False, candidates: Sequence[float] | None = None
) -> tuple[float, ...]:
    """Return what the padding of a channel consists of; () if there is none.

    ``planes``: (Y, X); of them all, some are looked at closely.
    ``strict``: for fluorescence, whose background may be dark and even: padding must
        have both a value of its own and straight edges.
    ``candidates``: of an :class:`EdgeScan` over all planes, if there was one.
    """
    if candidates is None:
        scan = EdgeScan()
        for index in range(len(planes)):
            scan.add(planes[index])
        candidates = scan.candidates()
    return tuple(
        value
        for value in candidates
        if math.isnan(value) or _is_padding(planes, value, strict)
    )


def hidden_voxels(
    raw: NDArray[Any], *, strict: bool = False
) -> tuple[Padding, NDArray[np.bool_]] | None:
    """Find the padding of a channel in memory.

    ``raw``: (Z, Y, X).
    Returns: (Z, Y, X); what it is and where; None if there is none, or nothing else.
    """
    values = padding_values(raw, strict=strict)
    if not values:
        return None
    mask = np.stack([padding_mask(plane, values) for plane in raw])
    share = float(mask.mean())
    return (Padding(values, share), mask) if 0 < share < 1 else None


def padding_mask(plane: NDArray[Any], values: Sequence[float]) -> NDArray[np.bool_]:
    """Return where a plane (Y, X) is padding of some values."""
    mask = np.zeros(plane.shape, np.bool_)
    for value in values:
        mask |= _bordering(plane, value)
    return mask


def _is_padding(planes: Planes, value: float, strict: bool) -> bool:
    """Return whether what borders the planes with one value is padding."""
    kept, last = _Evidence(value), len(planes) - 1
    for index in np.unique(np.linspace(0, last, _MOST_PLANES).round().astype(int)):
        kept.add(planes[int(index)])
    if not _LEAST_SHARE * kept.total <= kept.padded < kept.total:
        return False
    isolated, straight = kept.is_isolated(), kept.is_straight()
    return isolated and straight if strict else isolated or straight


@dataclass(slots=True)
class _Evidence:
    """What speaks for one value being padding, gathered plane by plane."""

    value: float
    total: int = 0
    padded: int = 0
    _whole: int = 0
    _covered: int = 0
    _smooth: int = 0
    _compared: int = 0
    _recorded: list[NDArray[Any]] = field(default_factory=list)
    _beside: list[NDArray[Any]] = field(default_factory=list)

    def add(self, plane: NDArray[Any]) -> None:
        """Look at the next plane, and keep some of its recorded voxels."""
        step = max(1, plane.size // _SAMPLED_OF_A_PLANE)
        mask = _bordering(plane, self.value)
        count = int(np.count_nonzero(mask))
        self.total += plane.size
        self.padded += count
        if count == plane.size:
            self._whole += count
            return
        if not count:
            self._recorded.append(plane.ravel()[::step])
            return
        near = ndimage.binary_dilation(mask, iterations=2)  # may be interpolated
        next_to = ndimage.binary_dilation(near) & ~near
        self._recorded.append(plane[~near][::step])
        self._beside.append(plane[next_to][:: max(1, step // 10)])
        covered = np.zeros_like(mask)
        for turns in range(4):  # each border of the plane once is at the left
            seen, filled = np.rot90(mask, turns), np.rot90(covered, turns)
            depth = np.where(seen.all(axis=1), 0, seen.argmin(axis=1))
            filled |= np.arange(seen.shape[1]) < depth[:, None]
            filled[:, : int(seen.all(axis=0).argmin())] = True
            self._compare(depth)
        self._covered += int(np.count_nonzero(covered))

    def is_isolated(self) -> bool:
        """Return whether hardly a recorded voxel comes near the value.

        Not even beside it: a dark background grows brighter little by little.
        """
        recorded = np.concatenate(self._recorded or [np.empty(0)]).astype(np.float64)
        recorded = recorded[np.isfinite(recorded)]
        if not recorded.size:
            return False
        distance = abs(recorded - self.value)
        usual = abs(float(np.median(recorded)) - self.value)
        near = np.count_nonzero(distance <= _NEAR * usual)
        if not usual or near > _FEW * recorded.size:
            return False
        if self._beside:
            beside = np.concatenate(self._beside).astype(np.float64)
            beside = abs(beside[np.isfinite(beside)] - self.value)
            if beside.size and np.median(beside) < _BESIDE * usual:
                return False
        return len(np.unique(recorded)) >= _LEAST_LEVELS

    def is_straight(self) -> bool:
        """Return whether it is whole planes, or reaches from borders to lines."""
        return self._whole >= _MOSTLY_WHOLE * self.padded or (
            self._covered + self._whole >= _COVERED * self.padded
            and self._smooth >= _STRAIGHT * self._compared
        )

    def _compare(self, depth: NDArray[np.intp]) -> None:
        """Compare how deep it reaches in lines that are a quarter of its length apart.

        Along a straight edge the depth in the middle is the mean of the two others.
        """
        lag = max(1, int(np.count_nonzero(depth)) // 4)
        if np.count_nonzero(depth) < _RUN or len(depth) <= 2 * lag:
            return
        one, middle, other = depth[: -2 * lag], depth[lag:-lag], depth[2 * lag :]
        known = (one > 0) & (middle > 0) & (other > 0)
        bend = abs(one - 2 * middle + other)[known]
        self._compared += bend.size
        self._smooth += int(np.count_nonzero(bend <= _STEP_PX))


def _bordering(plane: NDArray[Any], value: float) -> NDArray[np.bool_]:
    """Return the solid parts of one value that touch the border of a plane."""
    is_nan = math.isnan(value)
    equal = np.isnan(plane) if is_nan else plane == plane.dtype.type(value)
    if equal.all() or not any(edge.any() for edge in _edges(equal)):
        return np.full(plane.shape, bool(equal.all()))
    solid = equal
    if not is_nan:  # outside of the plane all is padding
        around = np.pad(equal, 2, constant_values=True)
        solid = ndimage.binary_opening(around, _SQUARE)[2:-2, 2:-2]
    labels, count = ndimage.label(solid)
    touching = np.zeros(count + 1, np.bool_)
    for edge in _edges(labels):
        touching[edge] = True
    touching[0] = False
    found: NDArray[np.bool_] = touching[labels]
    found |= ndimage.binary_dilation(found, _SQUARE) & equal
    return found


def _edges(plane: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    return plane[0], plane[-1], plane[:, 0], plane[:, -1]


def _has_run(equal: NDArray[np.bool_]) -> bool:
    """Return whether enough values in a row are true."""
    sums = np.concatenate([[0], np.cumsum(equal)])
    return bool((sums[_RUN:] - sums[:-_RUN] == _RUN).any())
