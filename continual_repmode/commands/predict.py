"""``continual-repmode predict``: structures from the images of a lab, as files."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from continual_repmode.commands._manifest_arguments import Parser, parse
from continual_repmode.errors import UserError
from continual_repmode.option_fields import add_options, given_options
from continual_repmode.prediction.options import PredictOptions

if TYPE_CHECKING:
    from continual_repmode.prediction.job import Job
    from continual_repmode.prediction.planning import Plan

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
        "--format",
        choices=("zarr", "tiff"),
        default="zarr",
        help="OME-Zarr or OME-TIFF (default: zarr)",
    )
    add_options(parser, PredictOptions)
    add("--estimate", action="store_true", help="tell what it would take, and stop")
    return parser


def _plan(chosen: argparse.Namespace) -> "Plan":
    """Load the model and find out what there is to do."""
    options = PredictOptions(**given_options(chosen, PredictOptions), progress=True)
    from continual_repmode.prediction.planning import plan_predictions
    from continual_repmode.trained_model import TrainedModel

    model = TrainedModel.load(chosen.model)
    return plan_predictions(model, chosen.inputs, chosen.out, options, chosen.format)


def _estimated(plan: "Plan", failures: list[UserError]) -> "list[Job]":
    """Tell what each image will take; return those that can be predicted so."""
    from continual_repmode.prediction.estimate import Estimator, format_seconds

    if not plan.jobs:
        return []
    estimator, jobs = Estimator(plan.setup), []
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
