"""``continual-repmode download``: fetch the Allen collection and write its manifest."""

import argparse
import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.request import OpenerDirector

from continual_repmode.commands._manifest_arguments import Parser, parse, say_unused
from continual_repmode.errors import UserError
from continual_repmode.processes import command_line

if TYPE_CHECKING:
    from continual_repmode.allen.catalog import Dataset
    from continual_repmode.allen.folder import AllenFolder, Step
    from continual_repmode.allen.manifest import BuiltManifest

_ABOUT = """\
Fetch the Allen Institute's label-free collection and write its manifest.

Eleven archives of tens of GB each, one per structure; the images of the twelfth, dna,
are drawn from nine of them, so dna alone needs all nine. Interrupted downloads go on
with the same command; what is complete is not fetched again."""

_WORK = (
    *("--mirror", "--proxy", "--keep-archives", "--delete-archives", "--no-manifest"),
    *("--voxel-size", "--published-lists"),
)
"""Options that say how to fetch, unpack and list."""
_STATES = {
    "complete": "complete",
    "found": "there, not unpacked by this command",
    "damaged": "incomplete",
    "packed": "archive there, not unpacked",
    "begun": "download begun",
    "absent": "-",
}


def main(arguments: Sequence[str]) -> int:
    """Download what is missing and write the manifest; return the exit status.

    Raises UserError if a name is unknown, the server or the disk fails, an archive is
        not what it should be, or the images are not what the collection's are.
    """
    chosen = parse(_parser(), arguments)
    if chosen is None:
        return 0
    from continual_repmode.allen.catalog import choose_datasets
    from continual_repmode.allen.folder import AllenFolder, locked
    from continual_repmode.allen.splits import read_published_order

    datasets = choose_datasets(chosen.tasks)
    folder = AllenFolder(chosen.to)
    if chosen.list:
        say_unused(chosen, "with --list", *_WORK)
        _print_list(folder, datasets)
        return 0
    if not chosen.manifest:
        say_unused(chosen, "with --no-manifest", "--voxel-size", "--published-lists")
    if chosen.manifest and chosen.published_lists:
        for dataset in datasets:  # before hours of downloading
            read_published_order(chosen.published_lists, dataset.name)
    try:
        with locked(folder.path):
            _fetch(chosen, folder, datasets)
            if chosen.manifest:
                _write_manifest(chosen, folder)
    except OSError as error:
        raise UserError(
            f"{error.filename or folder.path}: {error.strerror or error}; mend it, or "
            "choose another folder with --to"
        ) from error
    return 0


def _parser() -> Parser:
    parser = Parser(
        "download",
        _ABOUT,
        "mitochondria dna --to /data/allen",
    )
    add = parser.add_argument
    add(
        "tasks",
        metavar="TASK",
        nargs="*",
        help="tasks or data sets, see --list (default: all)",
    )
    add("--to", metavar="DIR", default="allen", help="where to (default: allen)")
    add("--list", action="store_true", help="show what there is and what is here")
    add("--mirror", metavar="URL", help="folder on another server with the archives")
    add("--proxy", metavar="URL", help="HTTP proxy (default: the environment's)")
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--keep-archives",
        dest="keep",
        action="store_true",
        default=True,
        help="keep archives after unpacking (default)",
    )
    group.add_argument(
        "--delete-archives",
        dest="keep",
        action="store_false",
        help="delete each archive once it is completely unpacked",
    )
    add(
        "--no-manifest",
        dest="manifest",
        action="store_false",
        help="leave DIR/manifest.csv as it is; otherwise it is written again",
    )
    add(
        "--voxel-size",
        choices=("metadata", "paper_code"),
        default="metadata",
        help="trust each image (default), or take 0.29 x 0.108 x 0.108 um for all, "
        "as the paper's code does, also for the membrane images",
    )
    add(
        "--published-lists",
        metavar="DIR",
        help="image lists of the paper's code (its data/csvs): exactly its splits",
    )
    return parser


def _fetch(
    chosen: argparse.Namespace, folder: "AllenFolder", datasets: Sequence["Dataset"]
) -> None:
    """Download and unpack what is missing."""
    from continual_repmode.allen.folder import disk_need
    from continual_repmode.allen.web import web_opener
    from continual_repmode.files import check_free

    base_url, opener = _base_url(chosen.mirror), web_opener(chosen.proxy)
    steps = folder.plan(datasets, base_url, opener)
    need = disk_need(steps, keep_archives=chosen.keep)
    _print_plan(folder, datasets, steps, need)
    check_free(folder.path, need, "downloading and unpacking", "--to")
    for step in steps:
        _carry_out(folder, step, base_url, opener)
        if not chosen.keep:
            folder.delete_archive(step.dataset)
    if not chosen.keep:
        for dataset in datasets:
            folder.delete_archive(dataset)


def _carry_out(
    folder: "AllenFolder", step: "Step", base_url: str, opener: OpenerDirector
) -> None:
    """Bring one data set, and say so."""
    folder.carry_out(step, base_url, opener)
    num_images = len(folder.images(step.dataset))
    print(f"{step.dataset.name}: complete, {num_images} images", flush=True)


def _base_url(mirror: str | None) -> str:
    """Return the folder of the archives; only a mirror may do without HTTPS."""
    from continual_repmode.allen.catalog import BASE_URL
    from continual_repmode.allen.web import check_address

    if mirror is None:
        return BASE_URL
    return check_address("--mirror", mirror, ("https", "http")).rstrip("/") + "/"


def _print_plan(
    folder: "AllenFolder",
    datasets: Sequence["Dataset"],
    steps: Sequence["Step"],
    need: float,
) -> None:
    from continual_repmode.allen.folder import describe_step
    from continual_repmode.files import format_bytes

    todo = {step.dataset.name: describe_step(step) for step in steps}
    for dataset in datasets:
        what = todo.get(dataset.name) or _STATES[folder.state(dataset)]
        print(f"  {dataset.name:<18} {what}")
    if steps:
        free = shutil.disk_usage(folder.path).free
        print(
            f"{folder.path}: needs about {format_bytes(need)} more, unpacked images "
            f"estimated; {format_bytes(free)} are free",
            flush=True,
        )


def _print_list(folder: "AllenFolder", datasets: Sequence["Dataset"]) -> None:
    from continual_repmode.allen.catalog import DATASETS, DNA, DNA_IMAGES

    row = "{:<22} {:<18} {:>6}  {}"
    print(row.format("task", "data set", "images", f"in {folder.path}"))
    for dataset in datasets:
        here = _STATES[folder.state(dataset)]
        print(row.format(dataset.task, dataset.name, dataset.num_images, here))
    sources = [dataset for dataset in DATASETS if dataset.has_dna]
    num_here = sum(folder.state(d) in {"complete", "found"} for d in sources)
    here = f"{num_here} of these nine are here"
    print(row.format(DNA, "drawn from nine", DNA_IMAGES, here))
    print("  " + ", ".join(dataset.name for dataset in sources))


def _write_manifest(chosen: argparse.Namespace, folder: "AllenFolder") -> None:
    from continual_repmode.allen.manifest import build_manifest

    manifest = build_manifest(
        folder,
        voxel_size=chosen.voxel_size,
        published_lists=chosen.published_lists,
    )
    _print_manifest(manifest)


def _print_manifest(manifest: "BuiltManifest") -> None:
    row = "{:<22} {:>6} {:>6} {:>6}"
    print(row.format("task", "train", "valid", "test"))
    for task, counts in manifest.counts.items():
        print(row.format(task, *counts.values()))
    for note in manifest.notes:
        print(f"note: {note}")
    print(
        f"manifest: {manifest.path}\n"
        f"next: continual-repmode check {command_line([str(manifest.path)])}"
    )
