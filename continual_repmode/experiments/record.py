"""What a finished run leaves for the tables: one small JSON file."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import Any, TypedDict

from continual_repmode.analysis.preferences import gate_distances, mean_distances
from continual_repmode.config.run import RunConfig
from continual_repmode.errors import UserError
from continual_repmode.experiments.costs import Costs
from continual_repmode.files import write_whole
from continual_repmode.measuring import describe_machine
from continual_repmode.models import RepModeUNet, load_model
from continual_repmode.result_content import Number
from continual_repmode.results import ExperienceRecord, RunFolder, finite, read_json
from continual_repmode.runtime import resolve_device, versions

SCHEMA = {"schema": "continual_repmode.table_run", "schema_version": 1}
DIGITS = 6

OF_IMAGES = ("mse", "mae", "r2")
"""The metrics that are kept for every test image."""


class _Metric(TypedDict):
    per_task: dict[str, Number]
    overall: dict[str, Number]
    result_matrix: list[list[Number]]
    forgetting: dict[str, Number]
    mean_forgetting: Number


class _Parameters(TypedDict):
    total: int
    per_task: dict[str, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRecord:
    """The results of one run, as any table may use them."""

    #: Hash of the settings.
    key: str
    #: Hash of the run whose network this one started from.
    base: str | None
    #: ``group.name`` -> value, see
    #: :func:`continual_repmode.experiments.identity.resolved_settings`.
    settings: dict[str, Any]
    #: In order of arrival.
    tasks: list[str]
    #: The tasks of each.
    experiences: list[list[str]]
    #: Metric -> ``per_task`` (final, mean over test images), ``overall`` (final, in
    #: both weightings), ``result_matrix``, ``forgetting`` and ``mean_forgetting``.
    metrics: dict[str, _Metric]
    #: Task -> ``names`` of its test images and, per metric, their final values.
    images: dict[str, dict[str, list[str | Number]]]
    #: ``total``, and ``per_task``: what one task has to itself.
    parameters: _Parameters
    #: Per experience.
    trained_parameters: list[int]
    #: Training steps of the whole run.
    steps: int
    #: Seconds of training per experience, with validation.
    train_s: list[float]
    #: See :class:`continual_repmode.experiments.costs.Costs`.
    costs: dict[str, Number]
    #: ``task other`` -> Jensen-Shannon divergence of their gates in bits, averaged over
    #: the blocks; empty for a network without gates.
    gate_distances: dict[str, Number]
    machine: dict[str, str]
    versions: dict[str, str]
    #: Date and time in UTC, ISO 8601.
    finished: str
    #: Validation MSE of the weights that were kept, per experience; None for one that
    #: was learned elsewhere. None as a whole in records made before it was kept.
    valid_mse: list[Number] | None = None

    def save(self, path: Path) -> None:
        """Write the record, all at once or not at all; one line per field."""
        content = finite({**SCHEMA, **asdict(self)})
        lines = [f"{json.dumps(k)}: {json.dumps(v)}" for k, v in content.items()]
        write_whole(path, "{\n" + ",\n".join(lines) + "\n}\n")

    def with_costs(self, costs: Costs, device: str) -> "RunRecord":
        """Return the record with costs that were measured now, on this machine."""
        return replace(
            self,
            costs=_rounded(asdict(costs)),
            machine=describe_machine(resolve_device(device)),
        )

    @classmethod
    def load(cls, path: Path) -> "RunRecord":
        """Read a record.

        Raises UserError if the file is damaged or of another version.
        """
        try:
            content = read_json(path, cls)
            if not SCHEMA.items() <= content.items():
                raise UserError("its schema is another")
        except UserError as error:
            raise UserError(
                f"{path}: no record of a run that this version can read ({error}); "
                "remove it, and the run is done again"
            ) from None
        known = {item.name for item in fields(cls)}
        return cls(**{name: content[name] for name in known & content.keys()})


def make_record(
    folder: RunFolder,
    *,
    key: str,
    base: str | None,
    settings: Mapping[str, Any],
    config: RunConfig,
    costs: Costs,
) -> RunRecord:
    """Gather what a finished run left in its folder."""
    results, records = folder.read_results(), folder.records()
    spent = results["costs"]
    return RunRecord(
        key=key,
        base=base,
        settings=dict(settings),
        tasks=results["tasks"],
        experiences=results["experiences"],
        metrics={name: _metric(results, name) for name in results["metrics"]},
        images=_images(records[-1]),
        parameters=results["parameters"],
        trained_parameters=[entry["num_trained_parameters"] for entry in spent],
        steps=records[-1].train_iterations,
        train_s=[round(entry["wall_time_s"]["train"], 1) for entry in spent],
        costs=_rounded(asdict(costs)),
        gate_distances=_gate_distances(folder, records[-1].experience),
        machine=describe_machine(resolve_device(config.device)),
        versions=versions(),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        valid_mse=[
            None if record.adopted else _rounded(record.best_valid_mse)
            for record in records
        ],
    )


def _metric(results: Mapping[str, Any], name: str) -> _Metric:
    metric = results["metrics"][name]
    matrix, lost = metric["result_matrix"], metric["forgetting"]
    content: _Metric = _rounded(
        {
            "per_task": dict(zip(results["tasks"], matrix[-1], strict=True)),
            "overall": {key: all_[-1] for key, all_ in metric["overall"].items()},
            "result_matrix": matrix,
            "forgetting": lost["per_task"],
            "mean_forgetting": lost["mean"],
        }
    )
    return content


def _images(record: ExperienceRecord) -> dict[str, dict[str, list[Any]]]:
    images: dict[str, dict[str, list[Any]]] = {}
    for row in record.rows:
        of_task = images.setdefault(row["task"], {k: [] for k in ("names", *OF_IMAGES)})
        of_task["names"].append(row["image"])
        for metric in OF_IMAGES:
            of_task[metric].append(_rounded(row[metric]))
    return images


def _gate_distances(folder: RunFolder, experience: int) -> dict[str, Number]:
    net = load_model(folder.checkpoint(experience))
    if not isinstance(net, RepModeUNet) or not net.gating_weights():
        return {}
    tables = net.gating_weights()
    return {
        f"{task} {other}": _rounded(distance)
        for task, other in combinations(net.task_names, 2)
        for distance in mean_distances(gate_distances(tables, task, [other])).values()
    }


def _rounded(value: Any) -> Any:
    """Round every number in a nest to some significant digits."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_rounded(item) for item in value]
    return value


def final_values(
    record: RunRecord, metric: str, tasks: Iterable[str]
) -> dict[tuple[str, str], float]:
    """Return the final value of every test image: (task, image) -> value.

    Images whose metric is not defined are left out.
    """
    return {
        (task, str(image)): float(value)
        for task in tasks
        for image, value in zip(
            record.images[task]["names"], record.images[task][metric], strict=True
        )
        if value is not None
    }
