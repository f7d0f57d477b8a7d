"""``continual-repmode extend``: add a structure of one's own to a trained model."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from continual_repmode.commands._manifest_arguments import Parser, parse
from continual_repmode.errors import UserError

_ABOUT = """\
Add a structure of your own to a trained RepMode model, from your own pairs.

The data of the structures that the model knows are not needed: they stay the same to
the bit, and this is proved. MANIFEST is a CSV file as `continual-repmode check` takes
it; only its rows of the task are used. The same check is made first.

Learns from all training images, then, to show how many seem enough, from fewer of
them. The same command goes on where it was interrupted."""


def main(arguments: Sequence[str]) -> int:
    """Extend a model and say what came out.

    Raises
    ------
    UserError
        If the model, the manifest, its volumes or the folder do not allow it.
    """
    parser = _parser()
    chosen = parse(parser, arguments)
    if chosen is None:
        return 0
    given = _settings(chosen)

    from continual_repmode.extending import ExtensionSettings, extend_model
    from continual_repmode.extending.summary import format_extension

    settings = ExtensionSettings(**given)
    extension = extend_model(
        chosen.model,
        chosen.manifest,
        chosen.task,
        folder=chosen.out,
        settings=settings,
    )
    print(format_extension(extension))
    _write_report(extension.folder)
    return 0


def _parser() -> Parser:
    parser = Parser(
        prog="continual-repmode extend",
        description=_ABOUT,
        epilog="example: continual-repmode extend model.safetensors volumes.csv "
        "--task lysosome",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("model", metavar="MODEL", help="a model file; it is only read")
    parser.add_argument("manifest", metavar="MANIFEST", help="a CSV file, or a folder")
    parser.add_argument(
        "--task", required=True, metavar="NAME", help="the structure to add"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="where the results go (default: MODEL+NAME in the current folder)",
    )
    _add_training(parser)
    _add_volumes(parser)
    return parser


def _add_training(parser: Parser) -> None:
    add = parser.add_argument_group("learning").add_argument
    add(
        "--epochs",
        type=int,
        metavar="N",
        help="one random patch of every training image is an epoch (default: as many "
        "as make 600 steps)",
    )
    add(
        "--patch-size",
        type=int,
        nargs=3,
        metavar=("Z", "Y", "X"),
        help="in voxels of the model grid (default: the model's window, or 16 32 32, "
        "cut to what fits into the images)",
    )
    add("--batch-size", type=int, metavar="N", help="patches in a step (default: 4)")
    add("--learning-rate", type=float, metavar="X", help="of Adam (default: 0.005)")
    add(
        "--schedule",
        choices=("one_cycle", "constant"),
        help="of the learning rate (default: one_cycle)",
    )
    add(
        "--expert",
        metavar="KIND",
        help="what each block gains: conv3 (default), conv3_rank4 (far smaller), "
        "conv1, conv5, avg3_conv1, ..., or none: a gate only",
    )
    add(
        "--expert-mix",
        choices=("additive", "softmax"),
        help="additive (default): the expert is added to what the known ones make; "
        "softmax: it competes with them, as in the paper",
    )
    add(
        "--gate-init",
        metavar="START",
        help="how gate and normalization start: closest (default), mean, uniform, or a "
        "known structure",
    )
    for name, what, factor in (
        ("--gate-rate", "gates", 20),
        ("--outer-rate", "outer factors of low-rank experts", 10),
    ):
        about = f"factor of the learning rate for {what} (default: {factor})"
        add(name, type=float, metavar="X", help=about)
    add(
        "--private-bn",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="batch normalizations of its own (default), or those of the others",
    )
    add(
        "--use-extensions",
        action="store_true",
        default=None,
        help="let it use the experts of earlier extensions too",
    )
    add(
        "--image-curve",
        metavar="N,N,...",
        help="also learn from so many training images, in as many steps; none: do not "
        "(default: a half, a quarter and an eighth of them, which takes up to three "
        "times longer again)",
    )
    add(
        "--reference",
        choices=("scratch",),
        help="also train a network of its own from scratch, a plain U-Net, on the same "
        "images in as many steps, and say which was better (about as long again)",
    )
    add("--device", metavar="NAME", help="auto (default), cpu or cuda")
    add(
        "--precision",
        choices=("float32", "bfloat16"),
        help="bfloat16 is for GPUs (default: float32)",
    )
    add(
        "--seed",
        type=int,
        metavar="N",
        help="of learning, and of the random split of a manifest without the column "
        "split (default: 0)",
    )


def _add_volumes(parser: Parser) -> None:
    add = parser.add_argument_group("volumes").add_argument
    add(
        "--root",
        metavar="DIR",
        help="what relative paths are relative to (default: the folder of the CSV)",
    )
    for name, about in (
        ("--voxel-size", "of the model grid in um, for a model that does not tell it"),
        (
            "--source-voxel-size",
            "voxel size of the files in um, whatever their metadata say (columns of "
            "the manifest come before it)",
        ),
    ):
        add(name, type=float, nargs=3, metavar=("Z", "Y", "X"), help=about)
    add(
        "--cache-dir",
        metavar="DIR",
        help="where prepared volumes are kept (default: the user's cache folder)",
    )
    add(
        "--workers",
        type=int,
        default=os.cpu_count() or 1,
        metavar="N",
        help="processes that check and prepare volumes (default: one per core)",
    )


def _settings(chosen: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments that were given, as those of ``ExtensionSettings``."""
    given = {
        name: getattr(chosen, name)
        for name in (
            *("epochs", "batch_size", "learning_rate", "schedule", "private_bn"),
            *("expert_mix", "gate_init", "gate_rate", "outer_rate"),
            *("use_extensions", "device", "precision", "seed", "root", "cache_dir"),
            "reference",
        )
    }
    given["workers"] = chosen.workers
    for name in ("patch_size", "voxel_size", "source_voxel_size"):
        sides = getattr(chosen, name)
        field = name if name == "patch_size" else f"{name}_um"
        given[field] = None if sides is None else tuple(sides)
    if chosen.image_curve is not None:
        given["image_curve"] = _sizes(chosen.image_curve)
    given = {name: value for name, value in given.items() if value is not None}
    if chosen.expert is not None:
        given["expert"] = None if chosen.expert == "none" else chosen.expert
    return given


def _sizes(text: str) -> tuple[int, ...]:
    """Read ``1,2,4`` or ``none``."""
    if text == "none":
        return ()
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UserError(
            f"--image-curve {text}: use numbers of images such as 1,2,4, or none"
        ) from None


def _write_report(folder: Path) -> None:
    """Write an HTML report of the extension beside its results."""
    from continual_repmode.reporting import write_report

    path = folder / "report.html"
    write_report([folder], path, overwrite=True)  # of an earlier call
    print(f"{'report:':<12}{path}")
