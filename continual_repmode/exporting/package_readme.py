"""The page of text in a bioimage.io package."""

from typing import Any

from continual_repmode.models.model_card import TaskCard
from continual_repmode.tasks import display_name


def readme_text(
    facts: dict[str, Any], known: TaskCard, divisor: tuple[int, int, int]
) -> str:
    """Return the README of a package, as Markdown.

    ``facts``: as :func:`continual_repmode.exporting.facts.facts_of` gives them.
    ``divisor``: what sides along (Z, Y, X) should be multiples of.
    """
    name = display_name(facts["task"])
    z, y, x = facts["voxel_size_um"]
    multiples = ", ".join(map(str, divisor))
    paragraphs = [
        f"# {name} from transmitted light",
        f"Predicts the fluorescence of one structure, {name}, in 3D from a 3D "
        "transmitted-light image of the same cells. It is one task of a "
        f"{facts['network']} trained with continual_repmode, as a network of its own.",
        "## Input and output",
        f"- Input `signal`: transmitted light, axes {facts['axes']}, voxels of "
        f"{z:g} x {y:g} x {x:g} um (z, y, x). Resample images of other voxel sizes "
        "first. Raw intensities: each image is z-scored by the preprocessing.",
        "- Padding at the borders is not recognized, as no preprocessing of a package "
        "can: crop the image to what was recorded first. Zeros or one value there "
        "would shift the z-score of all of it, and NaN make all of it NaN.",
        f"- Output `prediction`: same axes and size, in z-scores.{_scale_text(known)}",
        f"- Sizes are multiples of {multiples} (z, y, x). The ONNX file itself takes "
        "any size: it mirrors at the far ends and cuts the result back.",
        "- Every voxel sees its wide surroundings. Where an image is predicted in "
        "tiles, let them overlap and blend them, as `continual-repmode predict` does.",
        "## Validation",
        _validation_text(known),
        "To validate on images of your own, predict some for which the fluorescence "
        "was recorded, z-score the recording too, and compare voxel by voxel (Pearson "
        "correlation, R2); `continual-repmode predict --target` does so. The test "
        "input in this package is a generated image: it proves that a program "
        "computes the right numbers and says nothing about biology.",
        "## Limits",
        "A prediction shows what was typical of the training images. On other cells, "
        "treatments, microscopes or focus it may be wrong and still look plausible.",
        "## Source",
        f"Model file `{facts['model_file']}`, SHA-256 `{facts['model_sha256']}`; "
        f"exported by continual_repmode {facts['program_version']}.",
    ]
    return "\n\n".join(paragraphs) + "\n"


def _scale_text(known: TaskCard) -> str:
    if known.target_mean is None or known.target_std is None:
        return ""
    return (
        f" `prediction * {known.target_std:g} + {known.target_mean:g}` gives camera "
        "counts with the mean statistics of the training images."
    )


def _validation_text(known: TaskCard) -> str:
    measured = {k: v for k, v in (known.metrics or {}).items() if v is not None}
    if not measured:
        return "The model file holds no test results."
    images = (known.num_images or {}).get("test")
    on = f"on {images} test images" if images else "on the test images"
    values = ", ".join(f"{metric} {value:.4g}" for metric, value in measured.items())
    return f"Mean {on} when the model was trained: {values}."
