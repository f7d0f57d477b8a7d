"""Checkpoints of the published programs, as networks of this one.

``repmode`` is the release of RepMode (Correr-Zhou/RepMode), ``fnet`` the label-free
predictor (AllenCellModeling/pytorch_fnet, ``fnet_nn_3d``). Their modules are named
otherwise, but every tensor has one place here, and the outputs are equal.

Files of ``torch.save`` can run code when they are opened. They are read by PyTorch's
restricted reader, which knows tensors and plain values; beyond these it is allowed
``argparse.Namespace``, in which the programs keep their options.
"""

import argparse
import pickle
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from continual_repmode.errors import UserError, one_line
from continual_repmode.files import sha256_of
from continual_repmode.models import ModelCard, RepModeUNet, TaskNetwork
from continual_repmode.models.experts import EXPERTS
from continual_repmode.models.methods.multinet import MultiNet
from continual_repmode.models.task_network import Shape
from continual_repmode.paths import not_there, user_path
from continual_repmode.published_names import fnet_names, mode_convs, repmode_names
from continual_repmode.runtime import versions
from continual_repmode.tasks import TASK_OF_LABEL
from continual_repmode.volumes.preparation import VoxelSizeUm

Source = Literal["repmode", "fnet"]

VOXEL_SIZE_UM: VoxelSizeUm = (0.29, 0.29, 0.29)
"""Model grid of both programs."""

_COUNTER = "num_batches_tracked"
"""Missing in files of old versions of PyTorch, and without effect here."""
_POOLS = {"expert_avg3x3_pool": 3, "expert_avg5x5_pool": 5}
"""Tensors of the release that are constant: 1 over the number of voxels."""


@dataclass(frozen=True, slots=True)
class _Checkpoint:
    """What a file holds."""

    path: Path
    #: The tensors of the network.
    state: dict[str, Tensor]
    #: What its options call the tasks, in the order of their labels.
    datasets: list[str] | None


def import_weights(
    paths: Sequence[str | Path],
    source: Source,
    tasks: Sequence[str] = (),
    voxel_size_um: VoxelSizeUm = VOXEL_SIZE_UM,
) -> tuple[TaskNetwork, ModelCard]:
    """Make a network of published weights.

    Parameters
    ----------
    paths : sequence of str or Path
        One file of the RepMode release, or one of pytorch_fnet for each task.
    source : {"repmode", "fnet"}
        The program that wrote them.
    tasks : sequence of str
        Names of the tasks, in the order of their labels; may be left out where the
        options in a file of the RepMode release tell them.
    voxel_size_um : tuple of float
        Voxel size (z, y, x) of the images that the network was trained on, as resized.

    Returns
    -------
    net : TaskNetwork
        A :class:`~continual_repmode.models.RepModeUNet`, or a ``MultiNet`` with one
        network for each task; in evaluation mode.
    card : ModelCard

    Raises
    ------
    UserError
        If a file cannot be read safely, does not hold such a network, or the tasks are
        not as many.
    """
    found = [_read(user_path(path)) for path in paths]
    net: TaskNetwork
    if source == "repmode":
        if len(found) != 1:
            raise UserError(f"--from repmode: takes one file, not {len(found)}")
        net, window = _repmode(found[0], tasks), (32, 128, 128)
    else:
        net, window = _fnet(found, tasks), None
    files = [{"file": f.path.name, "sha256": sha256_of(f.path)} for f in found]
    card = ModelCard(
        voxel_size_um=voxel_size_um,
        resize="paper",
        order="zscore_first",
        window=window,
        overlap=(0.5, 0.5, 0.5) if window else None,
        versions=versions(),
        run={"imported": {"from": source, "files": files}},
    )
    return net.to(memory_format=torch.channels_last_3d).eval(), card


def _read(path: Path) -> _Checkpoint:
    """Read the tensors of a file, running no code of it."""
    if not path.is_file():
        raise UserError(f"{path}: {not_there(path)}")
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        what = named[1] if named else "something"
        raise UserError(
            f"{path}: holds {what}, which is neither a tensor, a plain value nor an "
            "argparse.Namespace and could run code, so it is not opened; save its "
            "nn_state alone with torch.save"
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, LookupError) as error:
        reason = one_line(" ".join(str(error).split())[:120])
        raise UserError(
            f"{path}: cannot be read as a file of torch.save ({reason}); give a "
            "checkpoint of the program"
        ) from None
    if not isinstance(content, Mapping):
        raise UserError(f"{path}: holds no tensors by name; give a checkpoint")
    options = content.get("opts")
    state = content.get("nn_state", content)
    if not isinstance(state, Mapping) or not all(
        isinstance(tensor, Tensor) for tensor in state.values()
    ):
        raise UserError(
            f"{path}: has no nn_state with the tensors of a network; give a checkpoint "
            "of the program"
        )
    datasets: Any = getattr(options, "adopted_datasets", None)
    told = isinstance(datasets, list) and all(isinstance(n, str) for n in datasets)
    parallel = all(str(name).startswith("module.") for name in state)
    prefix = "module." if parallel else ""  # trained on several GPUs
    return _Checkpoint(
        path,
        {str(n).removeprefix(prefix): tensor for n, tensor in state.items()},
        list(datasets) if told else None,
    )


def _repmode(found: _Checkpoint, tasks: Sequence[str]) -> RepModeUNet:
    state = found.state
    gate, first = (
        state.get("conv_out.gate.weight"),
        state.get("encoder_block1.conv_more.conv1.expert_conv5x5_conv"),
    )
    if gate is None or first is None or gate.ndim != 2 or first.ndim != 5:
        raise _wrong_program(found, "repmode", "fnet")
    depth = sum(f"encoder_block{i}.conv_down.0.weight" in state for i in range(1, 99))
    pools = [f"{conv}.{pool}" for conv in mode_convs(depth) for pool in _POOLS]
    renamed = _renamed(found, dict(repmode_names(depth)), pools)
    for name in pools:
        pool, size = state[name].double(), _POOLS[name.rpartition(".")[2]]
        average = torch.full((size,) * 3, size**-3, dtype=torch.double)
        if pool.shape != average.shape or not torch.allclose(pool, average):
            raise UserError(
                f"{found.path}: {name} is no average over {size}x{size}x{size} voxels; "
                "only networks of the release can be imported"
            )
    with torch.device("meta"):
        net = RepModeUNet(
            _task_names(found, gate.shape[1], tasks),
            width=first.shape[0],
            depth=depth,
            in_channels=first.shape[1],
            out_channels=gate.shape[0] // len(EXPERTS),
        )
    _load(net, renamed, found)
    return net


def _task_names(found: _Checkpoint, count: int, given: Sequence[str]) -> list[str]:
    """Return the names of tasks in the order of their labels."""
    known = [TASK_OF_LABEL.get(name, name) for name in found.datasets or ()]
    if len(known) != count:
        known = []
    if not given and not known:
        raise UserError(
            f"{found.path}: does not name its {count} tasks; give them with --tasks, "
            "in the order of their labels"
        )
    names = list(given) or known
    if len(names) != count:
        raise UserError(
            f"--tasks {','.join(names)}: are {len(names)}, but {found.path} has "
            f"{count}" + (f": {','.join(known)}" if known else "")
        )
    if names != known and sorted(names) == sorted(known):
        raise UserError(
            f"--tasks {','.join(names)}: are in another order than in {found.path}; "
            f"leave it out, or give {','.join(known)}"
        )
    return names


def _fnet(found: Sequence[_Checkpoint], tasks: Sequence[str]) -> MultiNet:
    if len(tasks) != len(found):
        raise UserError(
            f"--tasks {','.join(tasks)}: give one name for each file, {len(found)} in "
            "all"
        )
    shape = _fnet_shape(found[0])
    others = [one for one in found if _fnet_shape(one) != shape]
    if others:
        raise UserError(
            f"{others[0].path}: is a network of another size than {found[0].path}; "
            "import them into files of their own"
        )
    state: dict[str, Tensor] = {}
    for task, one in zip(tasks, found, strict=True):
        names = dict(fnet_names(shape["depth"]))
        renamed = _renamed(one, names, ())
        state |= {f"nets.net_{task}.{name}": t for name, t in renamed.items()}
    with torch.device("meta"):
        net = MultiNet(tasks, kernel_size=3, bias=True, **shape)
    _load(net, state, found[0])
    return net


def _fnet_shape(found: _Checkpoint) -> Shape:
    first = found.state.get("net_recurse.sub_2conv_more.conv1.weight")
    last = found.state.get("conv_out.weight")
    if first is None or last is None or first.ndim != 5 or last.ndim != 5:
        raise _wrong_program(found, "fnet", "repmode")
    depths = (name.count("sub_u.") for name in found.state)
    return {
        "width": first.shape[0],
        "depth": max(depths),
        "in_channels": first.shape[1],
        "out_channels": last.shape[0],
    }


def _renamed(
    found: _Checkpoint, names: Mapping[str, str], constant: Sequence[str]
) -> dict[str, Tensor]:
    """Return all tensors of a file by our names; none may be missing or left over."""
    state = {
        **{n: torch.tensor(0) for n in names if n.endswith(_COUNTER)},
        **found.state,
    }
    missing = [name for name in (*names, *constant) if name not in state]
    over = [name for name in state if name not in names and name not in constant]
    if missing or over:
        what, which = ("lacks", missing) if missing else ("also has", over)
        more = f" and {len(which) - 1} more" if len(which) > 1 else ""
        raise UserError(
            f"{found.path}: {what} {one_line(which[0])}{more}; only networks as they "
            "were published can be imported"
        )
    for name in names:
        if state[name].is_floating_point() and not state[name].isfinite().all():
            raise UserError(
                f"{found.path}: {name} has values that are not finite; take a "
                "checkpoint from before training diverged"
            )
    return {ours: state[theirs] for theirs, ours in names.items()}


def _load(net: TaskNetwork, state: Mapping[str, Tensor], found: _Checkpoint) -> None:
    own = {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in state.items()
    }
    try:
        net.load_state_dict(own, assign=True)
    except RuntimeError as error:
        reason = one_line(" ".join(str(error).split())[:200])
        raise UserError(
            f"{found.path}: its tensors do not fit ({reason}); only networks as they "
            "were published can be imported"
        ) from None


def _wrong_program(found: _Checkpoint, source: str, other: str) -> UserError:
    known: Callable[[str], bool] = {
        "fnet": lambda name: name.startswith("net_recurse."),
        "repmode": lambda name: name.startswith("encoder_block1."),
    }[other]
    hint = (
        f"it is one of {other}: use --from {other}"
        if any(map(known, found.state))
        else "give a checkpoint that this program wrote"
    )
    return UserError(f"{found.path}: is no network of {source}; {hint}")
