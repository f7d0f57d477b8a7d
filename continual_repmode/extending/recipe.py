"""What decides an extension, kept in its folder so that no other one mixes with it."""

from typing import Any, get_args

from continual_repmode.data.collection import Split
from continual_repmode.errors import UserError
from continual_repmode.extending.base_network import BaseNetwork
from continual_repmode.extending.lab_volumes import LabVolumes
from continual_repmode.extending.settings import ExtensionSettings
from continual_repmode.models.spatial import Size3
from continual_repmode.results import RunFolder, read_json, write_json
from continual_repmode.training.data_hash import hash_of_pairs

RECIPE = "extension.json"
_DECIDING = (
    "batch_size",
    "learning_rate",
    "schedule",
    "expert",
    "expert_mix",
    "gate_init",
    "gate_rate",
    "outer_rate",
    "private_bn",
    "use_extensions",
    "precision",
    "seed",
)
_BEFORE = {
    "expert_mix": "softmax",
    "gate_init": "mean",
    "gate_rate": 1.0,
    "outer_rate": 1.0,
}
"""What decided an extension whose folder does not say so: all there was then."""
_OTHER = {
    "base_model_sha256": "another base model",
    "images": "other images or splits",
    "train_sha256": "other training volumes",
    "valid_sha256": "other validation volumes",
}
"""How a difference is told where the values would tell nothing."""


def make_recipe(
    task: str, base: BaseNetwork, volumes: LabVolumes, settings: ExtensionSettings
) -> dict[str, Any]:
    """Return all that decides the weights, as plain JSON values.

    The pairs are those of training, validation and test images by name, and the voxels
    of the training and validation images by their digest. Where the files lie and the
    device they are learned on may change. ``reference`` decides nothing about the
    extension: it says what is learned beside it.
    """
    pairs = {split: volumes.collection.pairs(task, split) for split in get_args(Split)}
    return {
        "task": task,
        "base_model_sha256": base.sha256,
        "epochs": settings.num_epochs(len(pairs["train"])),
        "patch_size": list(volumes.patch_size),
        "window": list(window_of(base, volumes)),
        **{name: getattr(settings, name) for name in _DECIDING},
        "voxel_size_um": list(volumes.collection.voxel_size_um),
        "images": {split: [pair.name for pair in of] for split, of in pairs.items()},
        "train_sha256": hash_of_pairs(pairs["train"]),
        "valid_sha256": hash_of_pairs(pairs["valid"]),
        "reference": settings.reference,
    }


def window_of(base: BaseNetwork, volumes: LabVolumes) -> Size3:
    """Return the window (Z, Y, X) in voxels that the earlier tasks were tested with."""
    return base.card.window or volumes.patch_size


def check_folder(folder: RunFolder, task: str, base: BaseNetwork) -> None:
    """Refuse early, before volumes are read, a folder that holds something else.

    Raises
    ------
    UserError
        If it holds files but no extension, or one of another task or model.
    """
    path = folder.path
    if path.exists() and not path.is_dir():
        raise UserError(f"{path}: is a file; choose another folder with --out")
    if (path / RECIPE).is_file():
        early = {"task": task, "base_model_sha256": base.sha256}
        _compare(folder, early, read_json(path / RECIPE))
    elif path.is_dir() and any(not f.name.startswith(".") for f in path.iterdir()):
        raise UserError(
            f"{path}: holds files, but no extension to go on with; choose another "
            "folder with --out"
        )


def claim_folder(folder: RunFolder, recipe: dict[str, Any]) -> dict[str, Any]:
    """Put the recipe down, or see that the folder holds the same.

    A reference may be asked for later; once it was, it belongs to the folder.

    Returns
    -------
    dict
        The recipe of the folder.

    Raises
    ------
    UserError
        If the folder's recipe is another, naming where, or cannot be written.
    """
    path = folder.path / RECIPE
    if path.is_file():
        written = read_json(path)
        reference = recipe["reference"] or written.get("reference")
        recipe = {**recipe, "reference": reference}
        _compare(folder, recipe, {**written, "reference": reference})
        if recipe == written:
            return recipe
    try:
        write_json(path, recipe)
    except OSError as error:
        raise UserError(
            f"{folder.path}: {error.strerror}; choose a folder that can be written "
            "with --out"
        ) from error
    return recipe


def _compare(
    folder: RunFolder, recipe: dict[str, Any], written: dict[str, Any]
) -> None:
    written = {**_BEFORE, **written}
    for name, value in recipe.items():
        if name not in written or written[name] != value:
            there = f"{name} {written.get(name)}, not {value}"
            raise UserError(
                f"{folder.path}: holds an extension with {_OTHER.get(name, there)}; "
                "choose another folder with --out, or the same settings, model and "
                "images to go on with it"
            )
