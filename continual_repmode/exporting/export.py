"""Write one task of a model file for other programs, and check what was written."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from continual_repmode.errors import UserError
from continual_repmode.exporting.deviation import Deviation, measure_deviation
from continual_repmode.exporting.facts import facts_of
from continual_repmode.exporting.program import trace
from continual_repmode.exporting.publication import Publication
from continual_repmode.exporting.torch_file import TorchFile, write_torch
from continual_repmode.extras import require
from continual_repmode.files import replacing
from continual_repmode.paths import unicode_path
from continual_repmode.trained_model import TrainedModel

Format = Literal["onnx", "torch", "bioimageio"]


_ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_BIOIMAGEIO_PACKAGES = (*_ONNX_PACKAGES, "bioimageio.spec", "bioimageio.core")


@dataclass(frozen=True, slots=True)
class Exported:
    """A file that was written and checked."""

    path: Path
    num_bytes: int
    #: From the network, over the checked volumes.
    deviation: Deviation


def check_request(format: Format, publication: Publication | None = None) -> None:
    """Refuse what cannot be exported, before a model is read.

    Raises UserError if a package is missing, or license and authors do not fit the
        format.
    """
    if format != "bioimageio" and publication is not None:
        raise UserError(
            f"--format {format} keeps no license and no authors; leave out --license "
            "and --author"
        )
    match format:
        case "onnx":
            require(_ONNX_PACKAGES, "export", "--format onnx")
        case "bioimageio":
            if publication is None or not (publication.license and publication.authors):
                raise UserError(
                    "--format bioimageio needs --license and --author: on which terms "
                    "others may use these weights, and who made them"
                )
            require(_BIOIMAGEIO_PACKAGES, "bioimageio", "--format bioimageio")
            from continual_repmode.exporting.bioimageio_package import check_publication

            check_publication(publication)


def export_task(
    model: TrainedModel,
    task: str,
    format: Format,
    path: str | Path,
    publication: Publication | None = None,
) -> Exported:
    """Write one task; a file that does not predict what the network does is not kept.

    Parameters
    ----------
    model : TrainedModel
    task : str
    format : {"onnx", "torch", "bioimageio"}
    path : str or Path
        With the suffix of the format; replaced if it exists.
    publication : Publication, optional
        What bioimageio needs besides.

    Raises
    ------
    UserError
        As :func:`check_request` does; or if the task is unknown, the network cannot be
        traced, bioimage.io lacks something, or the file deviates.
    """
    check_request(format, publication)
    path = unicode_path(path)
    kind = model.card.task(model.net.task_name(task)).target_kind
    if kind is not None:
        raise UserError(
            f"task {task!r}: its stacks are projected ({kind}) after the network, "
            "which exported files cannot do; use continual-repmode predict"
        )
    traced = trace(model.net, model.net.task_name(task))
    facts = facts_of(model, task, any_batch=traced.any_batch)
    with replacing(path) as temporary:
        match format:
            case "torch":
                write_torch(traced, temporary, facts)
                deviation = measure_deviation(
                    model.net, task, TorchFile(temporary), traced.any_batch
                )
            case "onnx":
                from continual_repmode.exporting.onnx_file import OnnxFile, write_onnx

                write_onnx(traced, temporary, facts)
                deviation = measure_deviation(
                    model.net, task, OnnxFile(temporary), traced.any_batch
                )
            case "bioimageio":
                from continual_repmode.exporting import bioimageio_package

                assert publication is not None
                deviation = bioimageio_package.write_bioimageio(
                    model, traced, temporary, facts, publication
                )
    return Exported(path, path.stat().st_size, deviation)
