"""``continual-repmode predict``: structures from the images of a lab, as files."""

import argparse
import sys
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from continual_repmode.commands._manifest_arguments import (
    Parser,
    add_workers,
    parse,
    part_of,
    workers_of,
)
from continual_repmode.errors import UserError
from continual_repmode.option_fields import add_options, given_options
from continual_repmode.prediction.options import PredictOptions
from continual_repmode.workers import Workers

if TYPE_CHECKING:
    from continual_repmode.prediction.job import Job
    from continual_repmode.prediction.planning import Plan

_ABOUT = """\
Predict structures from transmitted light, for files of any size.

Each image is brought onto the grid of the model, predicted in blended windows, and
written back on its own grid, one channel per structure. Interrupted work resumes with
the same command; an output that is up to date is skipped. One
damaged image does not stop the others. The exit status is 0 if all is done, 3 if some
images failed, 2 for a mistake in the call."""


def main(arguments: Sequence[str]) -> int:
    """Predict images; return the exit status.

    Raises UserError if the call cannot be right; nothing has been done then.
    """
    chosen = parse(_parser(), arguments)
    if chosen is None:
        return 0
    plan = _plan(chosen)
    failures = list(plan.failures)
    for error in failures:
        _tell(error)
    for job in plan.done:
        print(f"{job.output}: up to date, skipped")
    workers = workers_of(chosen)
    jobs = plan.jobs
    if chosen.estimate or not chosen.scheduler:  # it is of this machine
        jobs = _estimated(plan, failures, workers)
    if not chosen.estimate:
        jobs = _carried_out(jobs, failures, workers)
        _conclude(plan, jobs, failures)
    return 3 if failures else 0


def _parser() -> Parser:
    parser = Parser(
        "predict",
        _ABOUT,
        "model.safetensors field.czi --tasks dna --out predicted",
        "model.safetensors plates/ '*.ome.tif' --out predicted",
        "model.safetensors pairs.csv --tasks all --out predicted",
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
    add_workers(parser, 1, "1")
    add(
        "--estimate",
        action="store_true",
        help="print the memory and time it needs, and stop",
    )
    return parser


def _plan(chosen: argparse.Namespace) -> "Plan":
    """Load the model and find out what there is to do."""
    given, part = given_options(chosen, PredictOptions), part_of(chosen)
    workers = workers_of(chosen)
    from continual_repmode.prediction.bounds import default_memory
    from continual_repmode.prediction.planning import plan_predictions
    from continual_repmode.trained_model import TrainedModel

    if workers.scheduler is None and workers.count > 1:
        given["memory"] = (given.get("memory") or default_memory()) // workers.count
    options = PredictOptions(**given, progress=workers.are_here)
    model = TrainedModel.load(chosen.model)
    return plan_predictions(
        model, chosen.inputs, chosen.out, options, chosen.format, part
    )


def _estimated(
    plan: "Plan", failures: list[UserError], workers: Workers
) -> "list[Job]":
    """Tell what each image will take; return those that can be predicted so."""
    from continual_repmode.files import format_bytes
    from continual_repmode.prediction.ahead import memory_of, with_room
    from continual_repmode.prediction.estimate import Estimator, format_seconds

    if not plan.jobs:
        return []
    estimator, jobs, estimates = Estimator(plan.setup), [], []
    for job in plan.jobs:
        try:
            estimate = job.estimate(estimator)
        except UserError as error:
            failures.append(error)
            _tell(error)
            continue
        jobs.append(job)
        estimates.append(estimate)
        print(f"{job.image.signal.volume.path}: {job.describe()}, {estimate}")
    if workers.are_here:
        jobs = with_room(jobs, estimates)
    if len(jobs) > 1:
        total_s = sum(estimate.seconds for estimate in estimates)
        seconds = format_seconds(total_s / min(workers.count, len(jobs)))
        how = " by each of the workers" if workers.count > 1 else ""
        if (num_bytes := memory_of(jobs, estimates)) is not None:
            how = (
                f", {format_bytes(num_bytes)} of memory: files are read and written "
                "while another image is predicted"
            )
        print(f"{len(jobs)} images: about {seconds}{how}")
    sys.stdout.flush()
    return jobs


def _carried_out(
    jobs: "Sequence[Job]", failures: list[UserError], workers: Workers
) -> "list[Job]":
    """Predict the images; return those that were."""
    from continual_repmode.prediction.ahead import predict_all
    from continual_repmode.volumes.progress import byte_bar

    done = []
    workers = workers.for_items(len(jobs))
    items = [
        (job, f"{number}/{len(jobs)} {job.image.name}: ")
        for number, job in enumerate(jobs, start=1)
    ]
    sizes = [job.num_bytes for job in jobs]
    shown = bool(jobs) and not workers.are_here  # each image has a bar of its own
    bar = byte_bar(f"predicting {len(jobs)} images", sum(sizes), shown=shown)
    work = predict_all(items) if workers.are_here else workers.work(_predict, items)
    with bar, closing(work) as ended:
        for index, outcome in ended:
            bar.update(sizes[index])
            if outcome is None:
                done.append(jobs[index])
                bar.write(f"{jobs[index].output}: written")
                sys.stdout.flush()
                continue
            failures.append(outcome)
            bar.write(f"failed: {outcome}", file=sys.stderr)
            sys.stderr.flush()
    return done


def _predict(item: "tuple[Job, str]") -> None:
    job, title = item
    job.run(title)


def _conclude(plan: "Plan", new: "Sequence[Job]", failures: list[UserError]) -> None:
    """Show the metrics, if there are any, and what did not succeed."""
    from continual_repmode.prediction.metrics_table import (
        METRICS_FILE,
        format_metrics,
        read_metrics,
    )
    from continual_repmode.prediction.plates import describe_plates

    jobs = [*plan.done, *new]
    if jobs:
        plates = [plates for job in jobs if (plates := job.plates)]
        describe_plates(plates, jobs[0].root)
    keys = [
        (job.image.name, task) for job in jobs for task in job.provenance["targets"]
    ]
    if keys:
        known = read_metrics(jobs[0].root)
        print(format_metrics([known[key] for key in keys]))
        print(f"on the model grid, of z-scores; also in {jobs[0].root / METRICS_FILE}")
        if jobs[0].setup.options.uncertainty:
            _say_calibration(jobs[0], keys)
    listed = {task for job in jobs for task in job.image.targets}
    if listed and not keys:
        rows = ", ".join(sorted(listed))
        print(f"nothing compared: rows are of {rows}, none of a predicted structure")
    if failures:
        print(f"{len(failures)} failed, {len(jobs)} are done:", file=sys.stderr)
        for error in failures:
            _tell(error)


def _say_calibration(job: "Job", keys: Sequence[tuple[str, str]]) -> None:
    """Say what the deviations are worth, by the images that have targets."""
    from continual_repmode.prediction.calibration import (
        CALIBRATION_FILE,
        factor_of,
        read_calibration,
    )

    known = read_calibration(job.root)
    for task in dict.fromkeys(task for _, task in keys):
        points = [
            point for key in keys if key[1] == task for point in known.get(key, ())
        ]
        print(
            f"{task}: errors are {factor_of(points):.2g} times the predicted deviation;"
            f" by deviation in {job.root / CALIBRATION_FILE} and .png"
        )


def _tell(error: UserError) -> None:
    print(f"failed: {error}", file=sys.stderr, flush=True)
