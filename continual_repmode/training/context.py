"""What an experience has besides its data: the names of its tasks, and its pairs.

Imports nothing of Avalanche, so that strategies can be chosen without it.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from continual_repmode.data.collection import Pair
from continual_repmode.errors import UserError
from continual_repmode.inference.projection import Projection

if TYPE_CHECKING:
    from continual_repmode.training.avalanche_api import CLExperience
    from continual_repmode.training.streams import TaskDataset


@dataclass(frozen=True, slots=True)
class ExperienceContext:
    """What a strategy needs to know of an experience besides its dataset."""

    #: Names of all tasks, those learned elsewhere first; the position is the label.
    stream_tasks: tuple[str, ...]
    #: How many experiences the stream has.
    num_experiences: int
    #: How many training images each of them has, and how many test images.
    num_train: tuple[int, ...]
    num_test: tuple[int, ...]
    #: The pairs of this experience, in the order of its dataset.
    pairs: list[Pair]
    #: Training patch (Z, Y, X) in voxels.
    patch_size: tuple[int, int, int]
    #: The validation volumes of this experience's tasks.
    validation: "TaskDataset"
    #: Its pairs, in the same order.
    validation_pairs: list[Pair]
    #: Task label -> how its predictions are projected to the one plane of its targets.
    projections: dict[int, Projection] = field(default_factory=dict)


def context_of(experience: "CLExperience") -> ExperienceContext:
    """Return the context that ``build_benchmark`` gave to ``experience``.

    Raises UserError if the experience comes from elsewhere and its tasks have no names.
    """
    context = getattr(experience, "context", None)
    if not isinstance(context, ExperienceContext):
        raise UserError(
            "this experience does not come from continual_repmode.build_benchmark, "
            "so its tasks have no names: build the benchmark with it"
        )
    return context


def task_names_of(experience: "CLExperience") -> tuple[str, ...]:
    """Return the names of the tasks of ``experience``."""
    names = context_of(experience).stream_tasks
    return tuple(names[label] for label in sorted(experience.task_labels))
