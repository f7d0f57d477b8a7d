"""What an exported file says about itself."""

import json
from typing import Any

from continual_repmode.runtime import versions
from continual_repmode.trained_model import TrainedModel

INPUT, OUTPUT = "signal", "prediction"
PADDING = (
    "not recognized: borders that were not recorded (zeros, one value, NaN) shift "
    "the z-score of the whole image; crop them away first or, where the input is "
    "z-scored by you, leave them out of mean and deviation and set them to 0"
)
"""What an export does about borders that ``continual-repmode predict`` leaves out."""


def facts_of(model: TrainedModel, task: str, *, any_batch: bool) -> dict[str, Any]:
    """Return what a user of an exported task has to know, as plain JSON values.

    ``any_batch``: whether the export takes several volumes at once.
    Returns: ``task``; ``voxel_size_um`` (z, y, x); ``normalization`` of the input, what
        is to be done about ``padding``, and
        ``target_mean`` and ``target_std`` that undo that of the prediction, each None
        where it is not known; ``axes``, ``sizes`` and ``batch``; ``network``,
        ``program``, ``program_version``, ``model_file`` and ``model_sha256``.
    """
    card = model.card
    known = card.task(task)
    voxel_size_um = card.voxel_size_um
    multiples = " x ".join(map(str, model.net.divisor))
    return {
        "task": task,
        "voxel_size_um": None if voxel_size_um is None else list(voxel_size_um),
        "normalization": card.normalization,
        "padding": PADDING,
        "target_mean": known.target_mean,
        "target_std": known.target_std,
        "axes": "batch, channel, z, y, x",
        "sizes": f"z, y and x of any size; fastest are multiples of {multiples}",
        "batch": "any" if any_batch else "1",
        "network": type(model.net).__name__,
        "program": "continual_repmode",
        "program_version": versions()["continual-repmode"],
        "model_file": model.name,
        "model_sha256": model.sha256,
    }


def as_text(facts: dict[str, Any]) -> dict[str, str]:
    """Return facts for a format that keeps text only.

    Text stays as it is, other values become JSON, and those not known are left out.
    """
    return {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in facts.items()
        if value is not None
    }
