"""The model file that tasks are exported from."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from continual_repmode.errors import UserError
from continual_repmode.models.model_card import ModelCard
from continual_repmode.models.model_file import load_model, read_card
from continual_repmode.models.task_network import TaskNetwork


@dataclass(frozen=True, slots=True)
class Source:
    """A model file, read.

    Attributes
    ----------
    net : TaskNetwork
        On the CPU, in evaluation mode.
    card : ModelCard
    name : str
        Of the file, without its folder.
    sha256 : str
        Of the file.
    """

    net: TaskNetwork
    card: ModelCard
    name: str
    sha256: str


def read_source(
    path: Path, voxel_size_um: tuple[float, float, float] | None = None
) -> Source:
    """Read a model file.

    Parameters
    ----------
    path : Path
    voxel_size_um : tuple of float, optional
        Voxel size (z, y, x) of a model file that does not tell it.

    Raises
    ------
    UserError
        If the file holds no model or tells another voxel size.
    """
    net, card = load_model(path), read_card(path)
    if voxel_size_um is not None:
        told = card.voxel_size_um or voxel_size_um
        if told != voxel_size_um:
            raise UserError(
                f"--voxel-size: {path} says {' '.join(f'{size:g}' for size in told)} "
                "um; leave the option out"
            )
        card = replace(card, voxel_size_um=voxel_size_um)
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return Source(net, card, path.name, sha256)
