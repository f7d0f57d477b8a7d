"""Random changes of training patches: turned, scaled, brighter, noisier."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from continual_repmode.data.patches import Shape
from continual_repmode.errors import UserError

Rotation = Literal["none", "quarter", "any"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Variation:
    """How training patches are changed at random, in addition to their place and flips.

    Random numbers come from PyTorch's global generator; what is off draws none.

    Attributes
    ----------
    rotation : {"none", "quarter", "any"}
        Turns in the plane YX: ``quarter`` by 0, 90, 180 or 270 degrees, which moves
        voxels and changes none; ``any`` by every angle, with linear interpolation.
    scaling : float
        Structures become larger or smaller in the plane YX by a factor from
        ``1 - scaling`` to ``1 + scaling``, with linear interpolation.
    intensity : float
        The light is multiplied by a factor from ``1 - intensity`` to ``1 + intensity``,
        then an offset from ``-intensity`` to ``intensity`` is added, in standard
        deviations of the z-scored image. The target is left alone.
    noise : float
        Standard deviation of Gaussian noise that is added to the light, in standard
        deviations of the z-scored image. The target is left alone.

    Notes
    -----
    Linear interpolation between voxels smooths signal and target a little. Rotation by
    any angle takes the voxels to be as long along Y as along X.

    Raises
    ------
    UserError
        If a value is out of range.
    """

    rotation: str = "none"
    scaling: float = 0.0
    intensity: float = 0.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.rotation not in get_args(Rotation):
            raise UserError(
                f"data.rotation={self.rotation}: must be "
                f"{' or '.join(get_args(Rotation))}"
            )
        for name in ("scaling", "intensity"):
            value = getattr(self, name)
            if not 0 <= value < 1:
                raise UserError(f"data.{name}={value}: must be 0 to below 1")
        if not 0 <= self.noise < math.inf:
            raise UserError(f"data.noise={self.noise}: must be 0 or more")

    def check_patch(self, patch_size: Sequence[int]) -> None:
        """Refuse a patch (z, y, x) that has another shape after a quarter turn."""
        _, y, x = patch_size
        if self.rotation == "quarter" and y != x:
            raise UserError(
                f"data.rotation=quarter: data.patch_size={list(patch_size)} is not "
                "square in Y and X; use equal sides, or data.rotation=any"
            )

    def draw_turn(self) -> "Turn":
        """Draw how one patch is turned and scaled."""
        quarters, angle, scale = 0, 0.0, 1.0
        if self.rotation == "quarter":
            quarters = int(torch.randint(4, ()))
        elif self.rotation == "any":
            angle = 2 * math.pi * float(torch.rand(()))
        if self.scaling:
            scale = 1 + self.scaling * _up_to_one()
        return Turn(quarters, angle, scale)

    def change_light(self, signal: Tensor) -> Tensor:
        """Return a patch of light with another intensity and noise, of any shape."""
        if self.intensity:
            gain = 1 + self.intensity * _up_to_one()
            signal = gain * signal + self.intensity * _up_to_one()
        if self.noise:
            noise = torch.randn(signal.shape, dtype=signal.dtype)
            signal = signal + self.noise * noise
        return signal


UNVARIED = Variation()


@dataclass(frozen=True, slots=True)
class Turn:
    """A rotation and scaling of a patch in the plane YX about its middle."""

    #: Quarter turns from Y towards X, as of :func:`numpy.rot90`.
    quarters: int = 0
    #: Further rotation in the same direction, in radians.
    angle: float = 0.0
    #: Above 1, structures become larger.
    scale: float = 1.0

    def region(self, patch_size: Shape) -> Shape:
        """Return the size (z, y, x) of the box that the voxels of a patch come from."""
        z, y, x = patch_size
        cos, sin = abs(math.cos(self.angle)), abs(math.sin(self.angle))
        spans = (cos * (y - 1) + sin * (x - 1), sin * (y - 1) + cos * (x - 1))
        around_y, around_x = (math.ceil(s / self.scale - 1e-6) + 1 for s in spans)
        return z, around_y, around_x

    def apply(self, box: Tensor, patch_size: Shape) -> Tensor:
        """Turn and scale the middle of a box.

        ``box``: (1, z, Y, X); where it is smaller than :meth:`region`, it is mirrored
            at its borders.
        Returns: (1, z, y, x).
        """
        if self.angle or self.scale != 1:
            box = F.grid_sample(
                box,
                self._places(box.shape[-2:], patch_size[1:]),
                padding_mode="reflection",
                align_corners=True,
            )
        return box.rot90(self.quarters, (-2, -1)) if self.quarters else box

    def _places(self, box: Sequence[int], patch: Sequence[int]) -> Tensor:
        """Return where in the box each voxel of the patch comes from, -1 to 1."""
        y, x = (torch.arange(n, dtype=torch.float64) - (n - 1) / 2 for n in patch)
        y, x = y[:, None] / self.scale, x[None, :] / self.scale
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        half_y, half_x = (max(n - 1, 1) / 2 for n in box)
        place = (cos * x - sin * y) / half_x, (sin * x + cos * y) / half_y
        return torch.stack(place, dim=-1)[None].float()


def _up_to_one() -> float:
    """Draw from -1 to 1."""
    return 2 * float(torch.rand(())) - 1
