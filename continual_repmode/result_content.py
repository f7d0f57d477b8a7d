"""What the JSON files of a run folder must hold."""

from typing import Annotated, Literal, NotRequired, Required, TypedDict

import msgspec

Edge = Annotated[float, msgspec.Meta(gt=0, lt=1e9)]
"""Of a voxel, in micrometers."""


Number = float | None
"""A number of a file; null where it is not finite."""


class RecordContent(TypedDict):
    """What the file of an :class:`ExperienceRecord` must hold."""

    experience: int
    tasks: list[str]
    curve: list["Point"]
    best_epoch: int
    best_valid_mse: Number
    num_trained_parameters: int
    train_iterations: int
    proofs: list["Proof"]
    rows: list["Row"]
    wall_time_s: dict[str, float]
    adopted: NotRequired[bool]
    validation: NotRequired[dict[str, "Score"]]
    task_sha256: NotRequired[dict[str, str]]
    checkpoint_sha256: NotRequired[str]
    memory_sha256: NotRequired[str]


class Point(TypedDict):
    """Of a learning curve."""

    epoch: int
    train_loss: Number
    valid_mse: Number


class Score(TypedDict):
    """Of a task on its validation images."""

    mse: Number
    target_variance: float


class Row(TypedDict):
    """Of a test image; there may be more metrics."""

    task: str
    image: str
    mse: Number
    mae: Number
    r2: Number
    pearson_r: Number


class Proof(TypedDict):
    """Of one old task: digests before and after an experience."""

    task: str
    before: dict[str, str]
    after: dict[str, str]
    unchanged: bool


class PerTask(TypedDict):
    """A score of each task, and their mean."""

    per_task: dict[str, Number]
    mean: Number


class Metric(TypedDict):
    """What ``results.json`` has of one metric."""

    higher_is_better: bool
    result_matrix: list[list[Number]]
    overall: dict[Literal["over_images", "over_tasks"], list[Number]]
    forgetting: PerTask
    backward_transfer: PerTask
    forward_transfer: NotRequired[PerTask | None]


class Metrics(TypedDict):
    """The metrics that every run has; there may be more."""

    mse: Metric
    mae: Metric
    r2: Metric
    pearson_r: Metric


class Header(TypedDict, total=False):
    """What ``run.json`` and ``results.json`` say about a run besides its results."""

    command: str
    schema: Required[str]
    schema_version: Required[int]
    scenario: str
    strategy: str
    base_model: dict[str, str]
    seed: int
    num_processes: int
    device: str
    voxel_size_um: Required[tuple[Edge, Edge, Edge] | None]
    versions: dict[str, str]


class Results(Header):
    """What ``results.json`` must hold."""

    tasks: list[str]
    experiences: list[list[str]]
    metrics: "Metrics"
    validation: NotRequired[dict[str, "Score"]]
    old_tasks_unchanged: bool
    proofs: list[list[Proof]]
    costs: NotRequired[list["Costs"]]
    parameters: NotRequired["Parameters"]


class Costs(TypedDict):
    """Of one experience."""

    wall_time_s: dict[str, float]
    num_trained_parameters: int


class Parameters(TypedDict):
    """How many parameters the network has."""

    total: int
    per_task: dict[str, int]
