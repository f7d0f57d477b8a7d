"""Made-up records, and tables of a few rows."""

import pytest

from continual_repmode import compose
from continual_repmode.experiments import paper
from continual_repmode.experiments.record import RunRecord
from continual_repmode.experiments.summary import RowResults
from continual_repmode.experiments.table import Row, Table

JOINT = [["dna", "nucleolus"]]
STREAM = [["dna"], ["nucleolus"]]


@pytest.fixture(scope="session", autouse=True)
def _options_composed_once():
    """Share what Hydra composed: a choice of options takes it a fifth of a second."""
    composer, shared = compose._Composer, {}

    class Sharing(composer):
        def __init__(self, main):
            super().__init__(main)
            self._composed = shared

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compose, "_Composer", Sharing)
        yield


def record_of(
    images,
    *,
    experiences=JOINT,
    key="k",
    learned=None,
    forgetting=None,
    costs=None,
    gate_distances=None,
    valid_mse=None,
):
    """A record whose images are ``{task: {image: mse}}``; MAE = MSE, R2 = 1 - MSE."""
    tasks = [task for names in experiences for task in names]
    learned = learned or {}  # task -> MSE right after learning, where it is another

    def _after(number, value_of):
        """The row of the result matrix after an experience but the last."""
        known = {task for names in experiences[: number + 1] for task in names}
        return [
            value_of(learned.get(task, 1.0)) if task in known else None
            for task in tasks
        ]

    def metric(value_of):
        values = {
            task: [value_of(mse) for mse in images[task].values()] for task in tasks
        }
        means = {task: sum(found) / len(found) for task, found in values.items()}
        everything = [value for found in values.values() for value in found]
        return {
            "per_task": means,
            "overall": {
                "over_images": sum(everything) / len(everything),
                "over_tasks": sum(means.values()) / len(means),
            },
            "result_matrix": [
                *[_after(number, value_of) for number in range(len(experiences) - 1)],
                list(means.values()),
            ],
            "forgetting": {} if forgetting is None else {tasks[0]: forgetting},
            "mean_forgetting": forgetting,
        }

    ways = {"mse": float, "mae": float, "r2": lambda x: 1 - x, "pearson_r": float}
    return RunRecord(
        key=key,
        base=None,
        settings={"model.width": 8},
        tasks=tasks,
        experiences=experiences,
        metrics={name: metric(way) for name, way in ways.items()},
        images={
            task: {
                "names": list(found),
                **{
                    name: [ways[name](mse) for mse in found.values()]
                    for name in ("mse", "mae", "r2")
                },
            }
            for task, found in images.items()
        },
        parameters={"total": 1234567, "per_task": dict.fromkeys(tasks, 4321)},
        trained_parameters=[1234567],
        steps=10,
        train_s=[1.0],
        costs=costs or {"step_s": 0.25, "step_bytes": 50e6, "volume_s": 0.5},
        gate_distances=gate_distances or {},
        machine={"processor": "abacus"},
        versions={"torch": "2.0"},
        finished="2026-01-31T12:00:00+00:00",
        valid_mse=valid_mse,
    )


@pytest.fixture
def make_record():
    return record_of


@pytest.fixture
def make_row():
    def make(name, by_seed, *, missing=None, **fields):
        row = Row(name=name, label=name.title(), settings=(), **fields)
        return RowResults(row=row, records=by_seed, missing=missing or {})

    return make


@pytest.fixture
def make_table():
    def make(rows, **fields):
        defaults = {
            "name": "t",
            "title": "A table",
            "about": "About it.",
            "reference": rows[0].row.name,
            "layout": "joint",
            "picture": "bars",
        }
        return Table(rows=tuple(r.row for r in rows), **(defaults | fields))

    return make


@pytest.fixture
def paper_row():
    return paper.TABLE_1["repmode"]
