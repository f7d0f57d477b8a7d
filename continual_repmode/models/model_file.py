"""Networks as files: the tensors, and a header from which the structure is rebuilt."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_parameter_registration_hook,
)

from continual_repmode.checkpoints import read_header, read_tensors, write_tensors
from continual_repmode.errors import UserError
from continual_repmode.models.fingerprint import (
    is_comparable,
    sha256_of_tasks,
    sha256_of_tensors,
)
from continual_repmode.models.model_card import (
    ModelCard,
    card_from_json,
    card_of_version_1,
)
from continual_repmode.models.networks import rebuild
from continual_repmode.models.task_network import TaskNetwork
from continual_repmode.paths import user_path

_KIND = "model"
_BAD_ARCHITECTURE = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    RuntimeError,
    TypeError,
    ValueError,
)


def save_model(
    net: TaskNetwork, path: str | Path, card: ModelCard | None = None
) -> None:
    """Write a network to a safetensors file, all at once or not at all.

    The header has a SHA-256 over all tensors, which :func:`load_model` compares, and
    one per task, which :func:`altered_tasks` compares.

    Parameters
    ----------
    net : TaskNetwork
    path : str or Path
    card : ModelCard, optional
        What a reader should know, such as normalization and voxel size. Kept in the
        header under ``metadata``.
    """
    tensors = net.state_dict()
    header = {
        "kind": _KIND,
        "architecture": net.architecture(),
        "metadata": (card or ModelCard()).to_json(),
        "tensors_sha256": sha256_of_tensors(tensors),
        "task_sha256": sha256_of_tasks(net),
    }
    write_tensors(path, tensors, header)


def load_model(path: str | Path) -> TaskNetwork:
    """Read a network from a file: the same to the bit, equally frozen, evaluation mode.

    Raises
    ------
    UserError
        If the file is missing, broken, does not hold a network, or its tensors are not
        those that were saved.
    """
    tensors, header = read_tensors(path)
    net = _structure(header, path)
    known = header.get("tensors_sha256")
    if known is not None and sha256_of_tensors(tensors) != known:
        raise UserError(
            f"{path}: damaged, its tensors are not those that were saved (their "
            "SHA-256 is another); take a copy that is sound"
        )
    try:
        _take(net, tensors)
    except RuntimeError as error:
        raise _misfit(path, "tensors", error) from None
    return net.to(memory_format=torch.channels_last_3d).eval()


def _take(net: TaskNetwork, tensors: dict[str, torch.Tensor]) -> None:
    """Make tensors those of a network, as ``load_state_dict(assign=True)`` does.

    That one looks through all tensors of a module for each module in it, which takes
    time with the square of the number of tasks.

    Raises RuntimeError if names or shapes are not those of the network.
    """
    wanted = {name: tensor.shape for name, tensor in net.state_dict().items()}
    found = {name: tensor.shape for name, tensor in tensors.items()}
    if wanted != found:
        odd = sorted(wanted.items() ^ found.items())
        raise RuntimeError(f"{odd[0][0]} is missing, unknown, or of another shape")
    for prefix, module in net.named_modules():
        for own in (module._parameters, module._buffers):
            for key, old in own.items():
                name = f"{prefix}.{key}" if prefix else key
                if old is None or name not in tensors:
                    continue
                if isinstance(old, torch.nn.Parameter):
                    own[key] = torch.nn.Parameter(tensors[name], old.requires_grad)
                else:
                    own[key] = tensors[name]


def altered_tasks(net: TaskNetwork, path: str | Path) -> tuple[str, ...] | None:
    """Return the tasks of a network that are not what its file says of them.

    Returns: None if the file is of an older version, which says nothing of tasks.
    """
    known = read_model_header(path).get("task_sha256")
    if not isinstance(known, dict) or not all(map(is_comparable, known.values())):
        return None
    found = sha256_of_tasks(net)
    return tuple(task for task in found if found[task] != known.get(task))


def read_structure(path: str | Path) -> TaskNetwork:
    """Read a network without its tensors, to count and to look at: on device ``meta``.

    Raises UserError if the file is missing, broken, or does not hold a network.
    """
    return _structure(read_header(path), path)


@contextmanager
def _no_larger_than(path: Path) -> Iterator[None]:
    """Refuse, in a block, to build far more than a file can hold.

    The header, whose length comes first, limits the number of tensors; what follows it
    limits their numbers, each of which takes a byte or more.

    Raises UserError: while what is built still fits into memory.
    """
    with path.open("rb") as file:
        header_bytes = int.from_bytes(file.read(8), "little")
    num_bytes = path.stat().st_size - header_bytes
    numbers, tensors = num_bytes + 2**16, header_bytes // 16 + 2**10

    def count(module: nn.Module, name: str, tensor: Tensor | None) -> None:
        nonlocal numbers, tensors
        numbers, tensors = (
            numbers - (0 if tensor is None else tensor.numel()),
            tensors - 1,
        )
        if min(numbers, tensors) < 0:
            raise UserError(
                f"it describes more parameters than {num_bytes} bytes can hold"
            )

    hooks = (
        register_module_parameter_registration_hook(count),
        register_module_buffer_registration_hook(count),
    )
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def read_card(path: str | Path) -> ModelCard:
    """Read what a model file says about its network, without the tensors.

    Files of format version 1 said less, and users could add entries of their own: what
    has no place in a card is found in its ``run``.

    Raises
    ------
    UserError
        If the file is missing, broken, or does not hold a network.
    """
    header = read_model_header(path)
    if header["version"] == 1:
        return card_of_version_1(header.get("metadata"))
    try:
        return card_from_json(header.get("metadata", {}))
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def read_model_header(path: str | Path) -> dict[str, Any]:
    """Read the header of a model file: ``architecture``, ``metadata``, ``version``.

    Everything is as it was written; see :func:`read_card` for the metadata.

    Raises UserError if the file is missing, broken, or does not hold a network.
    """
    header = read_header(path)
    _check_kind(header, path)
    return header


def _structure(header: dict[str, Any], path: str | Path) -> TaskNetwork:
    _check_kind(header, path)
    try:
        with torch.device("meta"), _no_larger_than(user_path(path)):
            return rebuild(header["architecture"])
    except _BAD_ARCHITECTURE as error:
        raise _misfit(path, "architecture", error) from None


def _misfit(path: str | Path, what: str, error: Exception) -> UserError:
    reason = " ".join(str(error).split())
    return UserError(f"{path}: its {what} cannot be used ({reason[:200]})")


def _check_kind(header: dict[str, Any], path: str | Path) -> None:
    if header.get("kind") != _KIND:
        raise UserError(
            f"{path}: holds {header.get('kind')!r}, not a model; give a model file"
        )
