"""``continual-repmode check``: what a manifest holds and what is wrong with it."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from continual_repmode.commands._manifest_arguments import (
    manifest_parser,
    parse,
    part_of,
    say_unused,
    workers_of,
)
from continual_repmode.errors import UserError
from continual_repmode.manifests.options import GridOptions
from continual_repmode.option_fields import given_options, option, per_axis

_WORK = ("--workers", "--scheduler")
_ABOUT = """\
Look at every volume of a manifest before anything is trained on it.

Prints what is there and what is wrong, with the remedy. The exit status is that of the
worst finding: 0 nothing, 3 warnings, 2 errors, with which a run would not start."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckOptions(GridOptions):
    """Options of ``continual-repmode check``; its ``--help`` says what they do."""

    patch_size: tuple[int, int, int] = per_axis(
        (16, 32, 32),
        "training patch in voxels of the model grid (default: 16 32 32)",
        int,
    )
    pad_small: bool = option(
        False, "volumes smaller than the patch will be padded (data.pad_small=true)"
    )
    model: str | None = option(
        None,
        "also say which images are unlike those that this model was trained on; on "
        "its grid",
        metavar="MODEL",
    )
    scenario: str | None = option(
        None, "look only at the tasks of this stream", metavar="NAME"
    )
    headers_only: bool = option(False, "do not read any pixels")
    verbose: bool = option(False, "name every file of a finding")
    json: bool = option(False, "print everything as JSON")


def main(arguments: Sequence[str]) -> int:
    """Check a manifest; return the status of the worst finding.

    Raises UserError if the manifest itself cannot be read.
    """
    parser = manifest_parser(
        "check", _ABOUT, "volumes.csv --json > check.json", CheckOptions
    )
    chosen = parse(parser, arguments)
    if chosen is None:
        return 0
    options = CheckOptions(**given_options(chosen, CheckOptions))
    if options.headers_only:
        say_unused(chosen, "with --headers-only", "--cache-dir", "--model", *_WORK)
    if options.json:
        say_unused(chosen, "with --json, which has all", "--verbose")

    from continual_repmode.manifests.check import check_manifest
    from continual_repmode.manifests.checks.findings import worst
    from continual_repmode.manifests.checks.report import format_report, to_json
    from continual_repmode.scenario import load_scenario

    settings = options.of_collection()
    model = None
    if options.model and not options.headers_only:
        from continual_repmode.trained_model import TrainedModel

        model = TrainedModel.outline(options.model)
        given = options.voxel_size_um if "--voxel-size" in chosen.given else None
        model = model.with_voxel_size(given, "--voxel-size")
        grid = model.preparation()
        settings |= {
            "voxel_size_um": grid.voxel_size_um,
            "resize": grid.resize,
            "order": grid.order,
        }
    tasks = load_scenario(options.scenario).task_names if options.scenario else None
    if min(options.patch_size) < 1:
        told = " ".join(map(str, options.patch_size))
        raise UserError(f"--patch-size {told}: use sizes of 1 or more")
    check = check_manifest(
        chosen.manifest,
        tasks=tasks,
        patch_size=options.patch_size,
        pad_small=options.pad_small,
        yes=options.yes,
        voxels="none" if options.headers_only else "measure",
        workers=workers_of(chosen),
        part=part_of(chosen),
        unlike=None if model is None else model.unlike_all,
        **settings,
    )
    if not check.collection.splits_at_random:
        say_unused(chosen, "as the manifest says the split", "--seed")
    if options.json:
        print(to_json(check.pairs, check.findings))
    else:
        print(format_report(check.pairs, check.findings, verbose=options.verbose))
    sys.stdout.flush()
    return worst(check.findings)
