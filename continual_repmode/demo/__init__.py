"""A model to start with, two images, and the files of made-up labs.

All of it is of generated cells: the model knows no others, and says nothing about
images of real ones. ``continual-repmode demo`` shows it; ``python -m
continual_repmode.demo`` makes the model and the images again.
"""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from continual_repmode.files import write_whole
from continual_repmode.synthetic.field import VOXEL_SIZE_UM, simulate_field
from continual_repmode.volumes.formats.writing import save_volume

MODEL = Path(__file__).with_name("model.safetensors")
"""A network of ten structures; nucleolus and cell membrane are unknown to it."""
IMAGES = tuple(Path(__file__).with_name(f"field_{name}.ome.tif") for name in "ab")
"""Fields with the channels Bright and DNA, of cells that the model has not seen."""
ONLY_GENERATED = "generated cells only: it says nothing about images of real cells"

SPLITS = ("train",) * 8 + ("valid",) * 2 + ("test",) * 3
"""What the fields of a lab are for, unless said otherwise."""


def write_lab(
    folder: str | Path,
    task: str,
    *,
    seed: int = 0,
    splits: Sequence[str] = SPLITS,
    shape: tuple[int, int, int] = (16, 64, 64),
    voxel_size_um: float = VOXEL_SIZE_UM,
) -> Path:
    """Write what a lab would have: two-channel OME-TIFF files and their manifest.

    What is there already is kept.

    ``task``: the stained structure, one of :data:`continual_repmode.tasks.TASKS`.
    ``seed``: another one gives other cells.
    ``splits``: split of each field: ``train``, ``valid`` or ``test``.
    ``shape``: of a field, (Z, Y, X) in voxels.
    ``voxel_size_um``: edge of a voxel, in micrometers.
    Returns: the manifest, ``volumes.csv``. The channels are Bright and EGFP.
    """
    folder, rows = Path(folder), io.StringIO()
    table = csv.writer(rows, lineterminator="\n")
    table.writerow(["task", "split", "path", "channel_signal", "channel_target"])
    for index, split in enumerate(splits):
        path = folder / f"field_{index:02}.ome.tif"
        if not path.is_file():
            write_field(path, [seed, index], ("EGFP", task), shape, voxel_size_um)
        table.writerow([task, split, path.name, "Bright", "EGFP"])
    write_whole(folder / "volumes.csv", rows.getvalue())
    return folder / "volumes.csv"


def write_field(
    path: Path,
    seed: Sequence[int],
    stain: tuple[str, str],
    shape: tuple[int, int, int],
    voxel_size_um: float = VOXEL_SIZE_UM,
) -> None:
    """Write one generated field: transmitted light (Bright), and a stain.

    ``path``: ends in ``.ome.tif``.
    ``seed``: of the cells.
    ``stain``: name of the channel, and the structure.
    ``shape``: (Z, Y, X) in voxels.
    ``voxel_size_um``: edge of a voxel, in micrometers.
    """
    channel, task = stain
    save_volume(
        path,
        np.stack(simulate_field([*seed], shape, task, voxel_size_um)),
        axes="CZYX",
        voxel_size_um=(voxel_size_um,) * 3,
        channel_names=["Bright", channel],
    )
