"""A task as a package for bioimage.io. Needs the extra ``bioimageio``.

The package holds the ONNX file, a generated image with the network's prediction of it,
a cover, a text and the description of all (``rdf.yaml``, model specification 0.5).
"""

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bioimageio.core import test_model
from bioimageio.spec import save_bioimageio_package
from bioimageio.spec.model import v0_5 as spec
from loguru import logger
from numpy.typing import NDArray

from continual_repmode.errors import UserError
from continual_repmode.exporting.cover import draw_cover
from continual_repmode.exporting.deviation import Deviation, measure_deviation
from continual_repmode.exporting.facts import INPUT, OUTPUT
from continual_repmode.exporting.onnx_file import OPSET, OnnxFile, write_onnx
from continual_repmode.exporting.package_readme import readme_text
from continual_repmode.exporting.program import TracedTask
from continual_repmode.exporting.publication import Publication
from continual_repmode.models.deploy import OneTask
from continual_repmode.models.spatial import Size3
from continual_repmode.models.task_network import TaskNetwork
from continual_repmode.synthetic import simulate_field
from continual_repmode.tasks import display_name
from continual_repmode.trained_model import TrainedModel
from continual_repmode.volumes.normalization import zscore

_PAPER = (
    "Zhou D, Gu C, Xu J, Liu F, Wang Q, Chen G, Heng PA. RepMode: Learning to "
    "Re-parameterize Diverse Experts for Subcellular Structure Prediction. CVPR 2023, "
    "3312-3322"
)
_PAPER_DOI = "10.48550/arXiv.2212.10066"

_TEST_SHAPE = (24, 96, 96)
"""Least size (Z, Y, X) of the generated image in voxels."""
_TEST_SEED = 20230618


def check_publication(publication: Publication) -> None:
    """Refuse what the specification would not take.

    Raises UserError if the license is no SPDX identifier or a name has a slash.
    """
    try:
        spec.LicenseId(publication.license)
    except ValueError:
        raise UserError(
            f"--license {publication.license!r} is not an SPDX license identifier; use "
            "one of https://spdx.org/licenses, such as CC-BY-4.0 or MIT"
        ) from None
    for name in publication.authors:
        if not name.strip() or {"/", "\\"} & set(name):
            raise UserError(f"--author {name!r}: give a name, without slashes")


def check_model(model: TrainedModel) -> None:
    """Refuse a model that a package cannot describe.

    Raises UserError if it has no voxel size or does not map one channel to one.
    """
    net = model.net
    if model.card.voxel_size_um is None:
        raise UserError(
            f"{model.name}: has no voxel size in its card, which --format bioimageio "
            "needs; give --voxel-size Z Y X"
        )
    if (net.in_channels, net.out_channels) != (1, 1):
        raise UserError(
            f"--format bioimageio: the network maps {net.in_channels} channels to "
            f"{net.out_channels}, only one to one can be described; use --format onnx"
        )


def write_bioimageio(
    model: TrainedModel,
    traced: TracedTask,
    path: Path,
    facts: dict[str, Any],
    publication: Publication,
) -> Deviation:
    """Write a package and have bioimage.io's own test run on it.

    ``traced``: of the task that ``facts`` name.
    ``path``: ending in ``.zip``; it exists only if the test passes.
    Returns: of the ONNX file in the package.
    Raises UserError if the model cannot be described, the ONNX file deviates too much
        or the package does not pass the test.
    """
    check_model(model)
    net = model.net
    task = facts["task"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weights = folder / "weights.onnx"
        write_onnx(traced, weights, facts)
        predict = OnnxFile(weights)
        deviation = measure_deviation(net, task, predict, traced.any_batch)
        signal, prediction = _test_tensors(net, task)
        np.save(folder / "test_input.npy", signal)
        np.save(folder / "test_output.npy", prediction)
        draw_cover(signal[0, 0], prediction[0, 0], task, folder / "cover.png")
        text = readme_text(facts, model.card.task(task), net.divisor)
        (folder / "README.md").write_text(text, encoding="utf-8", newline="\n")
        with _quiet():
            description = _describe(net, traced, facts, publication, folder)
            save_bioimageio_package(description, output_path=path)
    with _quiet():
        _test(path)
    return deviation


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the libraries of bioimage.io from reporting on what they do."""
    logger.disable("bioimageio")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.enable("bioimageio")


def _test_tensors(
    net: TaskNetwork, task: str
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return a generated transmitted-light image and the network's prediction of it."""
    z, y, x = (
        -(-size // step) * step
        for size, step in zip(_TEST_SHAPE, net.divisor, strict=True)
    )
    light, _ = simulate_field(_TEST_SEED, (z, y, x), "dna")
    signal = light.astype(np.float32)[None, None]
    normalized = torch.from_numpy(zscore(light)[0])[None, None]
    with torch.no_grad():
        prediction = OneTask(net, task)(normalized)
    return signal, prediction.numpy()


def _describe(
    net: TaskNetwork,
    traced: TracedTask,
    facts: dict[str, Any],
    publication: Publication,
    folder: Path,
) -> spec.ModelDescr:
    structure = display_name(facts["task"])
    batch = None if traced.any_batch else 1
    # A reader computes size * scale / scale: exact only for a scale of few digits.
    scales = [float(np.float32(size_um)) for size_um in facts["voxel_size_um"]]
    return spec.ModelDescr(
        name=f"{structure} from transmitted light",
        description=f"Predicts the 3D fluorescence of one subcellular structure, "
        f"{structure}, from a 3D transmitted-light image.",
        authors=[spec.Author(name=name) for name in publication.authors],
        license=spec.LicenseId(publication.license),
        cite=[spec.CiteEntry(text=_PAPER, doi=spec.Doi(_PAPER_DOI))],
        documentation=spec.FileDescr(source=folder / "README.md"),
        covers=[spec.FileDescr(source=folder / "cover.png")],
        tags=[
            "3d",
            "transmitted-light",
            "fluorescence-light-microscopy",
            "in-silico-labeling",
            "image-restoration",
            "pytorch",
            "unet",
        ],
        inputs=[_input(net.divisor, scales, batch, folder / "test_input.npy")],
        outputs=[_output(facts["task"], scales, batch, folder / "test_output.npy")],
        weights=spec.WeightsDescr(
            onnx=spec.OnnxWeightsDescr(
                source=folder / "weights.onnx", opset_version=OPSET
            )
        ),
        config=spec.Config(continual_repmode=facts),
    )


def _input(
    divisor: Size3, scales: list[float], batch: int | None, test: Path
) -> spec.InputTensorDescr:
    space = [
        spec.SpaceInputAxis(
            id=spec.AxisId(axis),
            size=spec.ParameterizedSize(min=step, step=step),
            unit="micrometer",
            scale=scale,
        )
        for axis, step, scale in zip("zyx", divisor, scales, strict=True)
    ]
    channel = spec.ChannelAxis(channel_names=["transmitted_light"])
    per_image = [spec.AxisId(axis) for axis in ("channel", "z", "y", "x")]
    return spec.InputTensorDescr(
        id=spec.TensorId(INPUT),
        description="3D transmitted-light image, raw intensities",
        axes=[spec.BatchAxis(size=batch), channel, *space],
        preprocessing=[
            spec.ZeroMeanUnitVarianceDescr(
                kwargs=spec.ZeroMeanUnitVarianceKwargs(axes=per_image)
            )
        ],
        test_tensor=spec.FileDescr(source=test),
    )


def _output(
    task: str, scales: list[float], batch: int | None, test: Path
) -> spec.OutputTensorDescr:
    space = [
        spec.SpaceOutputAxis(
            id=spec.AxisId(axis),
            size=spec.SizeReference(
                tensor_id=spec.TensorId(INPUT), axis_id=spec.AxisId(axis)
            ),
            unit="micrometer",
            scale=scale,
        )
        for axis, scale in zip("zyx", scales, strict=True)
    ]
    return spec.OutputTensorDescr(
        id=spec.TensorId(OUTPUT),
        description=f"Predicted fluorescence of {display_name(task)}, in z-scores",
        axes=[
            spec.BatchAxis(size=batch),
            spec.ChannelAxis(channel_names=[task]),
            *space,
        ],
        test_tensor=spec.FileDescr(source=test),
    )


def _test(path: Path) -> None:
    """Run what bioimage.io runs on a package; nothing in it asks for a network."""
    summary = test_model(path, weight_format="onnx", devices=["cpu"])
    if summary.status != "passed":
        reasons = [e.msg for detail in summary.details for e in detail.errors]
        raise UserError(
            f"the package does not pass the test of bioimageio.core "
            f"({'; '.join(reasons)[:300]}); nothing was written"
        )
