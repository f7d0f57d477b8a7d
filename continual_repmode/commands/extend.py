"""``continual-repmode extend``: add a structure of one's own to a trained model."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from continual_repmode.commands._manifest_arguments import Parser, parse, say_unused
from continual_repmode.extending.settings import ExtensionSettings
from continual_repmode.option_fields import add_options, given_options

_ABOUT = """\
Add a structure of your own to a trained RepMode model, from your own pairs.

The data of the structures that the model knows are not needed: they stay the same to
the bit, and this is proved. MANIFEST is a CSV file as `continual-repmode check` takes
it; only its rows of the task are used. The same check is made first.

Learns from all training images, then, to show how many seem enough, from fewer of
them. After an interruption, the same command resumes.
`torchrun --nproc-per-node 4 -m continual_repmode extend ...` learns with four
processes."""


def main(arguments: Sequence[str]) -> int:
    """Extend a model and say what came out.

    Raises UserError if the model, the manifest, its volumes or the folder do not allow
        it.
    """
    parser = _parser()
    chosen = parse(parser, arguments)
    if chosen is None:
        return 0
    settings = _settings(chosen)
    if "_rank" not in (settings.expert or ""):
        say_unused(chosen, "without --expert of low rank", "--outer-rate")
    if settings.expert is None:
        say_unused(chosen, "with --expert none", "--expert-mix")

    from continual_repmode.assembly import joined_processes
    from continual_repmode.distributed import is_first
    from continual_repmode.extending.extension import extend_model
    from continual_repmode.extending.summary import format_extension

    with joined_processes():
        extension = extend_model(
            chosen.model,
            chosen.manifest,
            chosen.task,
            folder=chosen.out,
            settings=settings,
        )
        if is_first():
            print(format_extension(extension))
            _write_report(extension.folder)
    return 0


def _parser() -> Parser:
    parser = Parser(
        "extend",
        _ABOUT,
        "model.safetensors volumes.csv --task lysosome",
    )
    parser.add_argument("model", metavar="MODEL", help="a model file; it is only read")
    parser.add_argument("manifest", metavar="MANIFEST", help="a CSV file, or a folder")
    parser.add_argument(
        "--task", required=True, metavar="NAME", help="the structure to add"
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="where the results go (default: MODEL+NAME in the current folder)",
    )
    add_options(parser, ExtensionSettings)
    return parser


def _settings(chosen: argparse.Namespace) -> ExtensionSettings:
    """Return what was chosen; as many workers as there are cores unless given."""
    given = given_options(chosen, ExtensionSettings)
    return ExtensionSettings(**{"workers": os.cpu_count() or 1, **given})


def _write_report(folder: Path) -> None:
    """Write an HTML report of the extension into its folder."""
    from continual_repmode.reporting import write_report

    path = folder / "report.html"
    write_report([folder], path, overwrite=True)  # of an earlier call
    print(f"{'report:':<12}{path}")
