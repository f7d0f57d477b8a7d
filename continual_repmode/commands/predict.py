"""``continual-repmode predict``: structures from the images of a lab, as files."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from continual_repmode.commands._manifest_arguments import Parser, parse
from continual_repmode.errors import UserError

if TYPE_CHECKING:
    from continual_repmode.prediction.job import Job
    from continual_repmode.prediction.planning import Plan

_Number = TypeVar("_Number", int, float)

_ABOUT = """\
Predict structures from transmitted light, for files of any size.

Each image is brought onto the grid of the model, predicted in blended windows, and
written back on its own grid, one channel per structure. Interrupted work goes on with
the same command; what is there already, made in the same way, is left as it is. One
damaged image does not stop the others. The exit status is 0 if all is done, 3 if some
images failed, 2 for a mistake in the call."""

_EXAMPLES = """\
examples:
  continual-repmode predict model.safetensors field.czi --tasks dna --out predicted
  continual-repmode predict model.safetensors plates/ '*.ome.tif' --out predicted
  continual-repmode predict model.safetensors pairs.csv --tasks all --out predicted"""


def main(arguments: Sequence[str]) -> int:
    """Predict images; return the exit status.

    Raises
    ------
    UserError
        If the call cannot be right; nothing has been done then.
    """
    chosen = parse(_parser(), arguments)
    if chosen is None:
        return 0
    plan = _plan(chosen)
    failures = list(plan.failures)
    for error in failures:
        _tell(error)
    for job in plan.done:
        print(f"{job.output}: is there already, made in the same way")
    jobs = _estimated(plan, failures)
    if not chosen.estimate:
        try:
            jobs = _carried_out(jobs, failures)
        except KeyboardInterrupt:
            command = shlex.join(["continual-repmode", "predict", *arguments])
            print(f"\nfinished work is kept; resume with: {command}", file=sys.stderr)
            raise
        _conclude(plan, jobs, failures)
    return 3 if failures else 0


def _parser() -> Parser:
    parser = Parser(
        prog="continual-repmode predict",
        description=_ABOUT,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    sizes: dict[str, Any] = {"nargs": 3, "metavar": ("Z", "Y", "X")}
    add("model", metavar="MODEL", help="a model file (.safetensors)")
    add(
        "inputs",
        metavar="INPUT",
        nargs="+",
        help="image files, folders of them, patterns, or manifests (.csv), whose "
        "targets are compared with",
    )
    add("--out", metavar="DIR", required=True, help="folder to write into")
    add(
        "--tasks",
        metavar="NAMES",
        default="all",
        help="structures to predict: dna,nucleolus (default: all that MODEL knows)",
    )
    add(
        "--format",
        choices=("zarr", "tiff"),
        default="zarr",
        help="OME-Zarr or OME-TIFF (default: zarr)",
    )
    add(
        "--channel",
        metavar="NAME_OR_INDEX",
        help="the transmitted light (default: the only channel that is named so)",
    )
    add(
        "--voxel-size",
        type=float,
        **sizes,
        help="voxel size in um of files that do not tell theirs",
    )
    add(
        "--choose",
        metavar="WHAT=WHICH",
        action="append",
        default=[],
        help="of files that hold several: scene=0, time=3, level=1 and so on; may be "
        "repeated",
    )
    add(
        "--target",
        metavar="CHANNEL_OR_FILE",
        help="fluorescence to compare the one task with; writes metrics.csv",
    )
    add(
        "--intensity",
        choices=("zscore", "target"),
        default="zscore",
        help="z-scores, or the mean intensities of the training images (default: "
        "zscore)",
    )
    add(
        "--memory",
        metavar="AMOUNT",
        help="such as 4GB, for all the command takes (default: half of this machine's)",
    )
    add("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    add(
        "--precision",
        choices=("float32", "bfloat16"),
        default="float32",
        help="of the network (default: float32)",
    )
    add(
        "--window",
        type=int,
        **sizes,
        help="voxels predicted at a time (default: as the model was tested)",
    )
    add(
        "--overlap",
        type=float,
        **sizes,
        help="share of a window that the next one covers again (default: as the model "
        "was tested; 0.45 0.125 0.125 is about three times as fast)",
    )
    add(
        "--batch-size",
        type=int,
        metavar="N",
        help="windows at a time (default: 1 on a CPU, else 8)",
    )
    add(
        "--model-voxel-size",
        type=float,
        **sizes,
        help="voxel size in um of a MODEL that does not tell it",
    )
    add(
        "--overwrite",
        action="store_true",
        help="replace outputs that were made in another way",
    )
    add("--estimate", action="store_true", help="tell what it would take, and stop")
    return parser


def _plan(chosen: argparse.Namespace) -> "Plan":
    """Load the model and find out what there is to do."""
    choices = _choices(chosen.choose)
    from continual_repmode.inference.memory import parse_bytes
    from continual_repmode.prediction.options import PredictOptions
    from continual_repmode.prediction.planning import plan_predictions
    from continual_repmode.trained_model import TrainedModel

    options = PredictOptions(
        tasks=chosen.tasks,
        channel=chosen.channel,
        choices=choices,
        target=chosen.target,
        voxel_size_um=_triple(chosen.voxel_size),
        model_voxel_size_um=_triple(chosen.model_voxel_size),
        intensity=chosen.intensity,
        window=_triple(chosen.window),
        overlap=_triple(chosen.overlap),
        batch_size=chosen.batch_size,
        memory=parse_bytes(chosen.memory) if chosen.memory else None,
        device=chosen.device,
        precision=chosen.precision,
        overwrite=chosen.overwrite,
        progress=True,
    )
    model = TrainedModel.load(chosen.model)
    return plan_predictions(model, chosen.inputs, chosen.out, options, chosen.format)


def _choices(words: Sequence[str]) -> dict[str, str]:
    """Return what ``--choose`` says, as a mapping."""
    pairs = [word.partition("=") for word in words]
    for word, (what, _, which) in zip(words, pairs, strict=True):
        if not what or not which:
            raise UserError(f"--choose {word}: use WHAT=WHICH, such as scene=0")
    return {what: which for what, _, which in pairs}


def _triple(
    values: Sequence[_Number] | None,
) -> tuple[_Number, _Number, _Number] | None:
    if values is None:
        return None
    z, y, x = values
    return z, y, x


def _estimated(plan: "Plan", failures: list[UserError]) -> "list[Job]":
    """Tell what each image will take; return those that can be predicted so."""
    from continual_repmode.prediction.estimate import format_seconds

    if not plan.jobs:
        return []
    estimator, jobs = plan.setup.estimator(), []
    total_s = 0.0
    for job in plan.jobs:
        try:
            estimate = job.estimate(estimator)
        except UserError as error:
            failures.append(error)
            _tell(error)
            continue
        jobs.append(job)
        total_s += estimate.seconds
        print(f"{job.image.signal.volume.path}: {job.describe()}, {estimate}")
    if len(jobs) > 1:
        print(f"{len(jobs)} images: about {format_seconds(total_s)}")
    sys.stdout.flush()
    return jobs


def _carried_out(jobs: "Sequence[Job]", failures: list[UserError]) -> "list[Job]":
    """Predict one image after the other; return those that were."""
    done = []
    for number, job in enumerate(jobs, start=1):
        try:
            job.run(f"{number}/{len(jobs)} {job.image.name}: ")
        except UserError as error:
            failures.append(error)
            _tell(error)
            continue
        done.append(job)
        print(f"{job.output}: written", flush=True)
    return done


def _conclude(plan: "Plan", new: "Sequence[Job]", failures: list[UserError]) -> None:
    """Show the metrics, if there are any, and what did not succeed."""
    from continual_repmode.prediction.metrics_table import (
        METRICS_FILE,
        format_metrics,
        read_metrics,
    )

    jobs = [*plan.done, *new]
    keys = [
        (job.image.name, task) for job in jobs for task in job.provenance["targets"]
    ]
    if keys:
        known = read_metrics(jobs[0].root)
        print(format_metrics([known[key] for key in keys]))
        print(f"on the model grid, of z-scores; also in {jobs[0].root / METRICS_FILE}")
    listed = {task for job in jobs for task in job.image.targets}
    if listed and not keys:
        rows = ", ".join(sorted(listed))
        print(f"nothing compared: rows are of {rows}, none of a predicted structure")
    if failures:
        print(f"{len(failures)} failed, {len(jobs)} are done:", file=sys.stderr)
        for error in failures:
            _tell(error)


def _tell(error: UserError) -> None:
    print(f"failed: {error}", file=sys.stderr, flush=True)
