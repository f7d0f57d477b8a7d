"""What decides an extension, kept in its folder so that no other one mixes with it."""

from typing import Any, get_args

from continual_repmode.data.collection import Split
from continual_repmode.errors import UserError
from continual_repmode.extending.lab_volumes import LabVolumes
from continual_repmode.extending.settings import ExtensionSettings
from continual_repmode.inference.windows import DEFAULT_OVERLAP, overlap_per_axis
from continual_repmode.results import RunFolder, read_json, write_json
from continual_repmode.trained_model import TrainedModel
from continual_repmode.training.data_hash import hash_of_pairs

_DECIDING = (
    "pad_small",
    "batch_size",
    "learning_rate",
    "schedule",
    "patience",
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
    "pad_small": False,
    "patience": None,
    "overlap": [DEFAULT_OVERLAP] * 3,
    "expert_mix": "softmax",
    "gate_init": "mean",
    "gate_rate": 1.0,
    "outer_rate": 1.0,
    "metrics": [],
}
"""What decided an extension whose folder does not say so: all there was then."""
_OTHER = {
    "base_model_sha256": "another base model",
    "images": "other images or splits",
    "train_sha256": "other training volumes",
    "valid_sha256": "other validation volumes",
}
"""How a difference is told where the values would tell nothing."""


def provenance_of(
    task: str, base: TrainedModel, volumes: LabVolumes, settings: ExtensionSettings
) -> dict[str, Any]:
    """Return all that decides the weights, as plain JSON values.

    The pairs are those of training, validation and test images by name, and the voxels
    of the training and validation images by their digest. Where the files lie and the
    device they are learned on may change. ``metrics`` and ``reference`` decide nothing
    about the extension: they say what is measured, and what is learned beside it.
    """
    pairs = {split: volumes.collection.pairs(task, split) for split in get_args(Split)}
    return {
        "task": task,
        "base_model_sha256": base.sha256,
        "epochs": settings.num_epochs(len(pairs["train"])),
        "patch_size": list(volumes.patch_size),
        "window": list(base.card.window or volumes.patch_size),
        "overlap": list(overlap_per_axis(base.card.overlap or DEFAULT_OVERLAP)),
        **{name: getattr(settings, name) for name in _DECIDING},
        "metrics": list(settings.metrics),
        "voxel_size_um": list(volumes.collection.voxel_size_um),
        "images": {split: [pair.name for pair in of] for split, of in pairs.items()},
        "train_sha256": hash_of_pairs(pairs["train"]),
        "valid_sha256": hash_of_pairs(pairs["valid"]),
        "reference": settings.reference,
    }


def check_folder(folder: RunFolder, task: str, base: TrainedModel) -> None:
    """Refuse early, before volumes are read, a folder that holds something else.

    Raises UserError if it holds files but no extension, or one of another task or
        model.
    """
    path = folder.path
    if path.exists() and not path.is_dir():
        raise UserError(f"{path}: is a file; choose another folder with --out")
    if folder.provenance.is_file():
        early = {"task": task, "base_model_sha256": base.sha256}
        _compare(folder, early, read_json(folder.provenance))
    elif path.is_dir() and any(not f.name.startswith(".") for f in path.iterdir()):
        raise UserError(
            f"{path}: holds files, but no extension to resume; choose another "
            "folder with --out"
        )


def claim_folder(folder: RunFolder, provenance: dict[str, Any]) -> dict[str, Any]:
    """Put the provenance down, or see that the folder holds the same.

    A reference may be asked for later; once it was, it belongs to the folder.

    Returns: the provenance of the folder.
    Raises UserError if the folder's provenance is another, naming where, or cannot be
        written.
    """
    path = folder.provenance
    if path.is_file():
        written = read_json(path)
        reference = provenance["reference"] or written.get("reference")
        provenance = {**provenance, "reference": reference}
        _compare(folder, provenance, {**written, "reference": reference})
        if provenance == written:
            return provenance
    try:
        write_json(path, provenance)
    except OSError as error:
        raise UserError(
            f"{folder.path}: {error.strerror}; choose a folder that can be written "
            "with --out"
        ) from error
    return provenance


def _compare(
    folder: RunFolder, provenance: dict[str, Any], written: dict[str, Any]
) -> None:
    written = {**_BEFORE, **written}
    for name, value in provenance.items():
        if name not in written or written[name] != value:
            there = f"{name} {written.get(name)}, not {value}"
            raise UserError(
                f"{folder.path}: holds an extension with {_OTHER.get(name, there)}; "
                "choose another folder with --out, or the same settings, model and "
                "images to resume it"
            )
