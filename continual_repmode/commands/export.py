"""``continual-repmode export``: one task of a model for other programs."""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

from continual_repmode.commands._manifest_arguments import Parser, parse
from continual_repmode.errors import UserError
from continual_repmode.paths import user_path
from continual_repmode.tasks import meant_task

_ABOUT = """\
Write one task of a model for other programs: as the merged plain U-Net that it is, for
volumes of any size, compared with the model before the file is kept.

  onnx        an ONNX file, for onnxruntime and others
  torch       a PyTorch program (.pt2), which runs without continual_repmode
  bioimageio  a package for bioimage.io, which passes its test"""

_SUFFIXES = {"onnx": ".onnx", "torch": ".pt2", "bioimageio": ".zip"}


def main(arguments: Sequence[str]) -> int:
    """Export one task or all; return the exit status.

    Raises UserError if an argument is wrong, a file is in the way, a package is missing
        or an exported file does not predict what the model does.
    """
    parser = _parser()
    chosen = parse(parser, arguments)
    if chosen is None:
        return 0

    from continual_repmode.exporting.export import check_request, export_task
    from continual_repmode.exporting.publication import Publication
    from continual_repmode.files import format_bytes
    from continual_repmode.trained_model import TrainedModel

    publication: Publication | None = None
    if chosen.license or chosen.author:
        publication = Publication(
            license=chosen.license or "", authors=tuple(chosen.author or ())
        )
    check_request(chosen.format, publication)
    model = TrainedModel.load(chosen.model).with_voxel_size(
        _voxel_size_um(chosen.voxel_size), "--voxel-size"
    )
    tasks = (
        model.net.task_names
        if chosen.task == "all"
        else (model.net.task_name(meant_task(chosen.task, model.net.task_names)),)
    )
    paths = [_path(chosen, task) for task in tasks]
    taken = [str(path) for path in paths if path.exists()]
    if taken and not chosen.overwrite:
        raise UserError(
            f"{', '.join(taken)}: exists; give --overwrite or another --out"
        )
    for task, path in zip(tasks, paths, strict=True):
        done = export_task(model, task, chosen.format, path, publication)
        print(
            f"{done.path}: {task}, {format_bytes(done.num_bytes)}, differs from the "
            f"model by at most {done.deviation.absolute:.1e} "
            f"({done.deviation.relative:.1e} of the largest value)",
            flush=True,
        )
    return 0


def _parser() -> Parser:
    parser = Parser(
        "export",
        _ABOUT,
        "model.safetensors --task nucleolus --format onnx",
    )
    add = parser.add_argument
    add("model", metavar="MODEL", help="a model file (.safetensors)")
    add("--task", metavar="T", required=True, help="a task of the model, or all")
    add("--format", choices=tuple(_SUFFIXES), required=True, help="what to write")
    add(
        "--out",
        metavar="PATH",
        help="file to write, or a folder (default: MODEL_T with the suffix of the "
        "format, in the current folder)",
    )
    add("--overwrite", action="store_true", help="replace files that exist")
    add(
        "--voxel-size",
        type=float,
        nargs=3,
        metavar=("Z", "Y", "X"),
        help="voxel size in um for a model file that has none",
    )
    add(
        "--license",
        metavar="SPDX",
        help="bioimageio: terms for the weights, such as CC-BY-4.0",
    )
    add(
        "--author",
        metavar="NAME",
        action="append",
        help="bioimageio: who made the weights; may be given several times",
    )
    return parser


def _voxel_size_um(sizes: list[float] | None) -> tuple[float, float, float] | None:
    if sizes is None:
        return None
    z, y, x = sizes
    if not 0 < min(sizes) <= max(sizes) < math.inf:
        raise UserError(f"--voxel-size {z:g} {y:g} {x:g}: use sizes above 0")
    return z, y, x


def _path(chosen: argparse.Namespace, task: str) -> Path:
    suffix = _SUFFIXES[chosen.format]
    name = f"{user_path(chosen.model).stem}_{task}{suffix}"
    if chosen.out is None:
        return user_path(name)
    out = user_path(chosen.out)
    if out.is_dir():
        return out / name
    if chosen.task == "all":
        if out.exists() or out.suffix == suffix:
            raise UserError(f"--out {out}: with --task all this is a folder")
        return out / name
    if out.suffix != suffix:
        raise UserError(f"--out {out}: a file of --format {chosen.format} is {suffix}")
    return out
