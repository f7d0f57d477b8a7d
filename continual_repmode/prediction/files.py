"""Predict one image file, from Python."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from continual_repmode.errors import Faults, UserError
from continual_repmode.paths import user_path
from continual_repmode.prediction.estimate import Estimator
from continual_repmode.prediction.options import PredictOptions
from continual_repmode.prediction.planning import SUFFIXES, find_images, plan_outputs
from continual_repmode.prediction.setup import Setup
from continual_repmode.trained_model import TrainedModel


def predict_file(
    model: str | Path | TrainedModel,
    image: str | Path,
    output: str | Path,
    **options: Any,
) -> Path:
    """Predict structures from the transmitted light in an image file.

    The image may be larger than memory. An output that was made in the same way is
    left as it is, and interrupted work resumes.

    Parameters
    ----------
    model : str, Path or TrainedModel
        A model file, or ``TrainedModel(net, card)`` for a network in memory.
    image : str or Path
        Of any format that :func:`continual_repmode.open_volume` reads.
    output : str or Path
        ``.ome.zarr`` or ``.ome.tif``: one float32 channel per task, of the shape and
        voxel size of the image.
    **options
        Fields of :class:`~continual_repmode.prediction.options.PredictOptions`, such as
        ``tasks=("dna", "nucleolus")``, ``voxel_size_um``, ``channel``, ``memory``
        in bytes, ``target`` and ``overwrite``. With a target, ``metrics.csv`` is
        written next to the output.

    Returns
    -------
    Path
        ``output``.

    Raises
    ------
    UserError
        If the image cannot be predicted, or the output exists with different settings.
    """
    output = user_path(output)
    suffix = next((s for s in SUFFIXES.values() if output.name.endswith(s)), None)
    if suffix is None:
        raise UserError(f"{output}: use one of {', '.join(SUFFIXES.values())}")
    chosen = PredictOptions(**options)
    setup, faults = Setup.of(TrainedModel.opened(model), chosen), Faults(collect=False)
    images = find_images([image], output.parent, setup, chosen, faults)
    if len(images) != 1:
        raise UserError(f"{image}: matches {len(images)} images; give one")
    named = replace(images[0], name=output.name.removesuffix(suffix))
    plan = plan_outputs([(named, output)], output.parent, setup, faults)
    for job in plan.jobs:
        if chosen.memory is not None:
            job.estimate(Estimator(setup))  # refuses what does not fit
        job.run(f"{named.name}: ")
    return output
