"""Networks as files: the tensors, and a header from which the structure is rebuilt."""

from pathlib import Path
from typing import Any

import torch

from continual_repmode.checkpoints import read_header, read_tensors, write_tensors
from continual_repmode.errors import UserError
from continual_repmode.models.networks import rebuild
from continual_repmode.models.task_network import TaskNetwork

_KIND = "model"


def save_model(
    net: TaskNetwork, path: str | Path, metadata: dict[str, Any] | None = None
) -> None:
    """Write a network to a safetensors file, all at once or not at all.

    Parameters
    ----------
    net : TaskNetwork
    path : str or Path
    metadata : dict of JSON values, optional
        Whatever a reader should know, such as normalization and voxel size. Kept in the
        header under ``metadata``.
    """
    header = {
        "kind": _KIND,
        "architecture": net.architecture(),
        "metadata": metadata or {},
    }
    write_tensors(path, net.state_dict(), header)


def load_model(path: str | Path) -> TaskNetwork:
    """Read a network from a file: the same to the bit, frozen alike, evaluation mode.

    Raises
    ------
    UserError
        If the file is missing, broken, or does not hold a network.
    """
    tensors, header = read_tensors(path)
    _check_kind(header, path)
    try:
        with torch.device("meta"):
            net = rebuild(header["architecture"])
        net.load_state_dict(tensors, assign=True)
    except (KeyError, RuntimeError, UserError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{path}: the tensors or the architecture do not fit ({reason[:200]})"
        ) from None
    return net.to(memory_format=torch.channels_last_3d).eval()


def read_model_header(path: str | Path) -> dict[str, Any]:
    """Read the header of a model file: ``architecture``, ``metadata``, ``version``.

    Raises
    ------
    UserError
        If the file is missing, broken, or does not hold a network.
    """
    header = read_header(path)
    _check_kind(header, path)
    return header


def _check_kind(header: dict[str, Any], path: str | Path) -> None:
    if header.get("kind") != _KIND:
        raise UserError(
            f"{path}: holds {header.get('kind')!r}, not a model; give a model file"
        )
