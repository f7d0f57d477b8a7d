"""Options of every verb that takes a manifest, declared once.

Imports nothing heavy, so that ``--help`` answers at once.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from continual_repmode.option_fields import option, per_axis

VOLUMES = "volumes"
"""Heading of these options in ``--help``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ManifestOptions:
    """Where the volumes of a manifest are, and what of them is right."""

    root: str | Path | None = option(
        None,
        "what relative paths are relative to (default: the folder of the CSV)",
        group=VOLUMES,
        metavar="DIR",
    )
    source_voxel_size_um: tuple[float, float, float] | None = per_axis(
        None,
        "voxel size of the files in um, whatever their metadata say (columns of "
        "the manifest come before it)",
        float,
        VOLUMES,
    )
    yes: bool = option(
        False,
        "what is asked back, such as two planes or a channel DAPI as light, is right",
        group=VOLUMES,
    )
    refuse_missing_chunks: bool = option(
        False,
        "an OME-Zarr of which chunk files are missing is an error, not a warning",
        group=VOLUMES,
    )
    cache_dir: str | Path | None = option(
        None,
        "where prepared volumes are kept (default: the user's cache folder)",
        group=VOLUMES,
        metavar="DIR",
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class GridOptions(ManifestOptions):
    """And the model grid that they are brought onto, ahead of a run.

    The defaults are those of ``continual-repmode run data=manifest``, so that the same
    volumes are meant and prepared volumes are found again.
    """

    voxel_size_um: tuple[float, float, float] = per_axis(
        (0.29, 0.29, 0.29),
        "voxel size of the model grid in um (default: 0.29 0.29 0.29)",
        float,
        VOLUMES,
    )
    seed: int = option(
        0,
        "of the random split of a manifest without the column split (default: 0)",
        group=VOLUMES,
    )

    def of_collection(self) -> dict[str, Any]:
        """Return the keywords of a ``ManifestCollection``."""
        names = ("root", "voxel_size_um", "source_voxel_size_um", "seed", "cache_dir")
        return {name: getattr(self, name) for name in (*names, "refuse_missing_chunks")}
