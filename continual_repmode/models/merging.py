"""Networks that extend the same base, made into one.

Extending a frozen RepMode network adds tensors and changes none. So what two labs have
added to the same base can stand side by side, and every task predicts as it did.
"""

import copy
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from continual_repmode.errors import UserError
from continual_repmode.models.fingerprint import fingerprint, sha256_of_tensors
from continual_repmode.models.model_card import ModelCard
from continual_repmode.models.repmode import RepModeUNet

_OWNED = ("extension", "private", "adapter", "weights")
"""What belongs to one extension of a frozen network, by the names of its parts."""

VoxelSize = tuple[float, float, float]

_GROWING = ("extensions", "num_frozen_tasks")
"""Entries of an architecture that an extension changes."""


def merge(one: RepModeUNet, other: RepModeUNet) -> RepModeUNet:
    """Join the extensions of two networks of the same base.

    Parameters
    ----------
    one, other : RepModeUNet
        Left as they are. What is not frozen in them yet is frozen in the result.

    Returns
    -------
    RepModeUNet
        In evaluation mode, with tensors of its own on the device of ``one``: its tasks,
        then the extensions that only ``other`` has. Every task predicts to the bit as
        it did.

    Raises
    ------
    UserError
        If the bases differ, an extension of the same name differs, or a network has
        learned a task with its base not frozen.
    """
    one, other = _frozen(one), _frozen(other)
    _check_same_base(one, other)
    known, theirs = _extensions(one), _extensions(other)
    for name in known.keys() & theirs.keys():
        if known[name] != theirs[name] or _sha256(one, name) != _sha256(other, name):
            raise UserError(
                f"task {name!r} is in both models, but is not the same in them: rename "
                f"that of the second, --rename {name}=NEW_NAME"
            )
    added = [options for name, options in theirs.items() if name not in known]
    tensors = dict(one.state_dict())
    for options in added:
        tensors |= _own_tensors(other, options["name"])
    return _built(one, [*known.values(), *added], tensors)


def merge_cards(one: ModelCard, other: ModelCard) -> ModelCard:
    """Join what is known about two networks; where both know, ``one`` counts.

    Raises
    ------
    UserError
        If they see images of another voxel size or normalization, so that one network
        cannot serve the tasks of both.
    """
    sizes_agree = _agree(one.voxel_size_um, other.voxel_size_um)
    for key, same in (
        ("normalization", one.normalization == other.normalization),
        ("voxel_size_um", sizes_agree),
    ):
        if not same:
            raise UserError(
                f"{key}: {getattr(one, key)} in one model, {getattr(other, key)} in "
                "another; only models that see the same images can be merged"
            )
    return replace(
        one,
        tasks={**one.tasks, **_without(other.tasks, one.tasks)},
        **{
            key: getattr(other, key)
            for key in ("voxel_size_um", "resize", "order", "window", "overlap")
            if getattr(one, key) is None
        },
    )


def rename_task(net: RepModeUNet, old: str, new: str) -> RepModeUNet:
    """Return a frozen copy of a network with an extension under another name.

    Raises UserError if ``old`` is no extension, or ``new`` is taken or not a name.
    """
    net = _frozen(net)
    extensions = _extensions(net)
    if old not in extensions:
        known = ", ".join(extensions) or "it has none"
        raise UserError(
            f"task {old!r} cannot be renamed, it is not an extension of this "
            f"model: {known}"
        )

    def renamed(value: Any) -> Any:
        if isinstance(value, list):
            return [renamed(item) for item in value]
        return new if value == old else value

    mentions = ("name", "gate_init", "use_extensions")
    options = [
        {k: renamed(v) if k in mentions else v for k, v in extension.items()}
        for extension in extensions.values()
    ]
    parts = {f"{what}_{old}": f"{what}_{new}" for what in _OWNED}
    tensors = {
        ".".join(parts.get(part, part) for part in name.split(".")): tensor
        for name, tensor in net.state_dict().items()
    }
    return _built(net, options, tensors)


def compare_tasks(
    merged: RepModeUNet, parents: Sequence[tuple[RepModeUNet, Mapping[str, str]]]
) -> Iterator[str]:
    """Compare the fingerprints of all tasks before and after merging, one by one.

    Parameters
    ----------
    merged : RepModeUNet
    parents : sequence of (RepModeUNet, mapping of str to str)
        What was merged, and for each of its tasks the name in ``merged``. Tensors carry
        the names of tasks, so a renamed one is compared by what it predicts.

    Yields
    ------
    str
        The name in ``merged`` of each task of each parent that is the same.

    Raises
    ------
    UserError
        If one is not.
    """
    found = {}
    for parent, names in parents:
        for task, name in names.items():
            if name not in found:
                found[name] = fingerprint(merged, name)
            before, after = fingerprint(parent, task), found[name]
            same_output = before.output_sha256 == after.output_sha256
            same_state = before.state_sha256 == after.state_sha256 or task != name
            if not (same_output and same_state):
                raise UserError(
                    f"task {name!r} would not predict as it did, so nothing is "
                    "written; please report this with the models"
                )
            yield name


def base_sha256(net: RepModeUNet) -> str:
    """Return the SHA-256 of all that extending a network leaves as it is.

    These are its tensors without those of extensions. Of networks that are not frozen
    it is what it will be when they are.
    """
    return sha256_of_tensors(_base_tensors(_frozen(net)))


def _check_same_base(one: RepModeUNet, other: RepModeUNet) -> None:
    mine, theirs = (_without(n.architecture(), _GROWING) for n in (one, other))
    for key, value in mine.items():
        if value != theirs[key]:
            raise UserError(
                f"the models do not extend the same base: {key} is {value} in one, "
                f"{theirs[key]} in the other"
            )
    hashes = base_sha256(one), base_sha256(other)
    if hashes[0] != hashes[1]:
        found = _base_tensors(other)
        differing = [
            name
            for name, tensor in _base_tensors(one).items()
            if sha256_of_tensors({name: tensor})
            != sha256_of_tensors({name: found[name]})
        ]
        raise UserError(
            "the models do not extend the same base, or one has changed it: SHA-256 "
            f"{hashes[0]} and {hashes[1]}; {len(differing)} tensors differ, the first "
            f"is {differing[0]}; extend the same frozen file in both labs"
        )


def _frozen(net: RepModeUNet) -> RepModeUNet:
    """Return a network with all tasks fixed: itself, or a copy."""
    if _extensions(net) and not net.is_frozen:
        raise UserError(
            f"task {next(iter(_extensions(net)))!r} was learned without freezing what "
            "was there before, so the base has changed with it; extend a frozen network"
        )
    if net.architecture()["num_frozen_tasks"] == len(net.task_names):
        return net
    net = copy.deepcopy(net)
    net.freeze()
    return net


def _built(
    like: RepModeUNet, extensions: list[dict[str, Any]], tensors: Mapping[str, Tensor]
) -> RepModeUNet:
    """Build a frozen network of the base of ``like`` with copies of tensors."""
    architecture = like.architecture()
    num_tasks = len(architecture["task_names"]) + len(extensions)
    architecture |= {"extensions": extensions, "num_frozen_tasks": num_tasks}
    with torch.device("meta"):
        net = RepModeUNet.from_architecture(architecture)
    device = next(like.parameters()).device
    own = {name: t.detach().to(device, copy=True) for name, t in tensors.items()}
    net.load_state_dict(own, assign=True)
    return net.to(memory_format=torch.channels_last_3d).eval()


def _extensions(net: RepModeUNet) -> dict[str, dict[str, Any]]:
    return {options["name"]: options for options in net.architecture()["extensions"]}


def _base_tensors(net: RepModeUNet) -> dict[str, Tensor]:
    """Return what extensions share; how often a norm was updated decides nothing."""
    foreign = {part for name in _extensions(net) for part in _parts(name)}
    return {
        name: tensor
        for name, tensor in net.state_dict().items()
        if not (foreign | {"num_batches_tracked"}) & set(name.split("."))
    }


def _own_tensors(net: RepModeUNet, extension: str) -> dict[str, Tensor]:
    parts = _parts(extension)
    return {n: t for n, t in net.state_dict().items() if parts & set(n.split("."))}


def _sha256(net: RepModeUNet, extension: str) -> str:
    return sha256_of_tensors(_own_tensors(net, extension))


def _parts(extension: str) -> set[str]:
    return {f"{what}_{extension}" for what in _OWNED}


def _without(entries: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    return {key: value for key, value in entries.items() if key not in keys}


def _agree(one: VoxelSize | None, other: VoxelSize | None) -> bool:
    """Return whether two voxel sizes are the same but for rounding, or unknown."""
    if one is None or other is None:
        return True
    pairs = zip(one, other, strict=True)
    return all(math.isclose(a, b, rel_tol=1e-3) for a, b in pairs)
