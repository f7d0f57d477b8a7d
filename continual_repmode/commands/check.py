"""``continual-repmode check``: what a manifest holds and what is wrong with it."""

import sys
from collections.abc import Sequence

from continual_repmode.commands._manifest_arguments import (
    manifest_parser,
    manifest_settings,
    parse,
    part_of,
    say_unused,
    workers_of,
)
from continual_repmode.errors import UserError

_WORK = ("--workers", "--scheduler")
_ABOUT = """\
Look at every volume of a manifest before anything is trained on it.

Prints what is there and what is wrong, with the remedy. The exit status is that of the
worst finding: 0 nothing, 3 warnings, 2 errors, with which a run would not start."""


def main(arguments: Sequence[str]) -> int:
    """Check a manifest; return the status of the worst finding.

    Raises UserError if the manifest itself cannot be read.
    """
    parser = manifest_parser("check", _ABOUT, "volumes.csv --json > check.json")
    add = parser.add_argument
    add(
        "--patch-size",
        type=int,
        nargs=3,
        metavar=("Z", "Y", "X"),
        default=(16, 32, 32),
        help="training patch in voxels of the model grid (default: 16 32 32)",
    )
    add(
        "--pad-small",
        action="store_true",
        help="volumes smaller than the patch will be padded (data.pad_small=true)",
    )
    add(
        "--model",
        metavar="MODEL",
        help="also say which images are unlike those that this model was trained on; "
        "on its grid",
    )
    add("--scenario", metavar="NAME", help="look only at the tasks of this stream")
    add("--headers-only", action="store_true", help="do not read any pixels")
    add("--verbose", action="store_true", help="name every file of a finding")
    add("--json", action="store_true", help="print everything as JSON")
    chosen = parse(parser, arguments)
    if chosen is None:
        return 0
    if chosen.headers_only:
        say_unused(chosen, "with --headers-only", "--cache-dir", "--model", *_WORK)
    if chosen.json:
        say_unused(chosen, "with --json, which has all", "--verbose")

    from continual_repmode.manifests.check import check_manifest
    from continual_repmode.manifests.checks.findings import worst
    from continual_repmode.manifests.checks.report import format_report, to_json
    from continual_repmode.scenario import load_scenario

    settings = manifest_settings(chosen)
    model = None
    if chosen.model and not chosen.headers_only:
        from continual_repmode.trained_model import TrainedModel

        model = TrainedModel.outline(chosen.model)
        given = chosen.voxel_size if "--voxel-size" in chosen.given else None
        model = model.with_voxel_size(given and tuple(given), "--voxel-size")
        grid = model.preparation()
        settings |= {
            "voxel_size_um": grid.voxel_size_um,
            "resize": grid.resize,
            "order": grid.order,
        }
    tasks = load_scenario(chosen.scenario).task_names if chosen.scenario else None
    z, y, x = chosen.patch_size
    if min(z, y, x) < 1:
        raise UserError(f"--patch-size {z} {y} {x}: use sizes of 1 or more")
    check = check_manifest(
        chosen.manifest,
        tasks=tasks,
        patch_size=(z, y, x),
        pad_small=chosen.pad_small,
        yes=chosen.yes,
        voxels="none" if chosen.headers_only else "measure",
        workers=workers_of(chosen),
        part=part_of(chosen),
        unlike=None if model is None else model.unlike_all,
        **settings,
    )
    if not check.collection.splits_at_random:
        say_unused(chosen, "as the manifest says the split", "--seed")
    if chosen.json:
        print(to_json(check.pairs, check.findings))
    else:
        print(format_report(check.pairs, check.findings, verbose=chosen.verbose))
    sys.stdout.flush()
    return worst(check.findings)
