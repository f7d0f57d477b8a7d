"""Kernel, learning rate and the like of every method: tried once, equally for all.

The cells are others than those of the tables of results, and only validation images
count, so that what is chosen here is not chosen for the images it is judged by.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from types import MappingProxyType

from continual_repmode.experiments.methods import (
    ADDITIVE,
    METHODS,
    OWN_NORMALIZATION,
    PRIVATE_EXPERTS,
    RECIPE,
    SHARED_EXPERTS,
    kernel_settings,
)
from continual_repmode.experiments.table import Row, Table, experiences

OTHER_CELLS = "data.seed=100"

AT_BEST = (
    "Kernels and rates are those with the lowest validation MSE in the tables "
    "`choices` and `extending_choices`, or the first values tried of a method that "
    "these tables lack."
)

CHOSEN: Mapping[str, str] = MappingProxyType(
    {
        "individual": "k3_lr0.01",
        "multihead_dec": "k3_lr0.01",
        "multinet": "k3_lr0.0025",
    }
)
"""Way to learn -> the try with the lowest validation MSE, such as ``k3_lr0.005``.

Of a way that is not measured yet, the first of its tries is a first guess.
"""


@dataclass(frozen=True, slots=True)
class Level:
    """One value of something that is tried."""

    name: str
    label: str
    settings: tuple[str, ...]


Axis = tuple[Level, ...]
"""Values that are tried of one thing, the first guess first."""

RATES: Axis = tuple(
    Level(f"lr{rate}", f"rate {rate}", (f"train.learning_rate={rate}",))
    for rate in ("0.005", "0.0025", "0.01")
)
OUTER_RATES: Axis = tuple(
    Level(f"outer{factor}", f"outer x{factor}", (f"strategy.outer_rate={factor}",))
    for factor in (30, 10)
)


def kernels(model: str) -> Axis:
    """Return the largest kernels that are tried for a network."""
    return tuple(
        Level(f"k{size}", f"{size}x{size}x{size}", kernel_settings(model, size))
        for size in (3, 5)
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """A way to learn, with what is tried for it."""

    label: str
    #: That all its tries have.
    settings: tuple[str, ...]
    #: Each combination of their values is a try.
    axes: tuple[Axis, ...]
    #: For a way to learn a later task: the way in :data:`JOINT` that the tasks before
    #: were learned in. It has the same network.
    known_by: str = ""

    def tries(self) -> dict[str, Level]:
        """Return every try with all its settings by name, the first guess first."""
        found = [
            Level(
                name="_".join(level.name for level in levels),
                label=", ".join(level.label for level in levels),
                settings=(
                    *self.settings,
                    *(s for each in levels for s in each.settings),
                ),
            )
            for levels in product(*self.axes)
        ]
        return {each.name: each for each in found}


def _joint(model: str, label: str, *settings: str) -> Way:
    return Way(
        label=label,
        settings=(f"model={model}", "strategy=naive", *settings),
        axes=(kernels(model), RATES),
    )


JOINT: Mapping[str, Way] = MappingProxyType(
    {model: _joint(model, label) for model, label in METHODS.items()}
    | {
        "multihead_dec_normalization": _joint(
            "multihead_dec",
            "Multi-Head (Dec.), normalization per task",
            *OWN_NORMALIZATION,
        ),
        "repmode_recipe": _joint(
            "repmode", "RepMode, shared experts", *RECIPE, *SHARED_EXPERTS
        ),
        "repmode_private": _joint(
            "repmode", "RepMode, private experts", *RECIPE, *PRIVATE_EXPERTS
        ),
    }
)
"""Ways to learn tasks together: the methods of Table 1, and RepMode with its recipe.

Multi-Head (Dec.) has the part of the recipe that it can have.
"""


def additive(
    expert: str, label: str, *axes: Axis, known_by: str = "repmode_recipe"
) -> Way:
    """Return a way to extend RepMode by an expert outside the softmax."""
    network = {"repmode_recipe": "RepMode", "repmode_private": "RepMode, private"}
    return Way(
        label=f"{network[known_by]}, {label} added",
        settings=("strategy=repmode_paper", f"strategy.expert={expert}", *ADDITIVE),
        axes=(*axes, RATES),
        known_by=known_by,
    )


def _adapter(kind: str, label: str, *axes: Axis) -> Way:
    return Way(
        label=f"Multi-Head (Las.), {label}",
        settings=("strategy=adapter", f"strategy.adapter={kind}"),
        axes=(*axes, RATES),
        known_by="multihead_las",
    )


EXTENDING: Mapping[str, Way] = MappingProxyType(
    {
        "individual": Way(
            label="Multi-Net, individual training",
            settings=("strategy=individual",),
            axes=(kernels("multinet"), RATES),
            known_by="multinet",
        ),
        "finetuned": Way(
            label="Multi-Head (Dec.), all fine-tuned",
            settings=("strategy=naive",),
            axes=(RATES,),
            known_by="multihead_dec",
        ),
        "additive_conv3": additive("conv3", "3x3x3 expert"),
        "additive_rank4": additive("conv3_rank4", "rank 4 expert", OUTER_RATES),
        "additive_rank2": additive("conv3_rank2", "rank 2 expert", OUTER_RATES),
        "additive_private_conv3": additive(
            "conv3", "3x3x3 expert", known_by="repmode_private"
        ),
        "additive_private_rank4": additive(
            "conv3_rank4", "rank 4 expert", OUTER_RATES, known_by="repmode_private"
        ),
        "adapter_low_rank4": _adapter("low_rank4", "adapter of rank 4", OUTER_RATES),
        "adapter_residual": _adapter("residual", "residual adapter"),
        "adapter_grouped": _adapter("grouped", "grouped adapter"),
    }
)
"""Ways to learn a task that arrives later."""

INCREMENTAL = (("scenario=incremental",), ("scenario=base_tasks",))
"""Ten tasks are known, two arrive: the stream, and its base alone."""

ALONE = (
    (*INCREMENTAL[0], experiences([["dna"], ["nucleolus"], ["cell_membrane"]])),
    (*INCREMENTAL[1], experiences([["dna"]])),
)
"""The same for networks that share nothing, where one known task is as good as ten."""


def first_guess(way: Way, kernel: str = "") -> Level:
    """Return the first try of a way, perhaps of those with a kernel such as ``k5``."""
    return next(t for t in way.tries().values() if t.name.startswith(kernel))


def chosen(way: Way, name: str) -> Level:
    """Return the try that is used of a way: the best, or a first guess."""
    return way.tries()[CHOSEN[name]] if name in CHOSEN else first_guess(way)


def joint_settings(name: str) -> tuple[str, ...]:
    """Return how one of :data:`JOINT` learns tasks together; see :func:`chosen`."""
    return chosen(JOINT[name], name).settings


def extending_row(
    name: str,
    *settings: str,
    stream: tuple[str, ...] = ("scenario=incremental",),
    base: tuple[str, ...] = ("scenario=base_tasks",),
    kernel: str = "",
) -> Row:
    """Return one of :data:`EXTENDING` at its best, after joint training.

    All start from tasks that were learned as first guessed, so equally.

    ``stream``, ``base``: what chooses the scenario, and its first experience alone.
    ``kernel``: of the network before, such as ``k5``.
    """
    way = EXTENDING[name]
    tried = replace(chosen(way, name), name=name, label=way.label)
    return tried_row(way, tried, *settings, stream=stream, base=base, kernel=kernel)


def tried_row(
    way: Way,
    tried: Level,
    *settings: str,
    stream: tuple[str, ...],
    base: tuple[str, ...],
    kernel: str = "",
) -> Row:
    """Return the run of a later task for one try; arguments as above."""
    known = first_guess(JOINT[way.known_by], kernel).settings
    network = (s for s in known if s.startswith("model"))
    own_network = (s for s in tried.settings if s.startswith("model."))
    return Row(
        name=tried.name,
        label=tried.label,
        settings=(*stream, *network, *tried.settings, *settings),
        base=(*base, *known, *own_network),
    )


def choices_table() -> Table:
    """Return every try of the methods that learn tasks together."""
    rows = tuple(
        Row(
            name=f"{name}_{tried.name}",
            label=tried.label,
            group=way.label,
            settings=("scenario=joint", *tried.settings, OTHER_CELLS),
        )
        for name, way in JOINT.items()
        for tried in way.tries().values()
    )
    return Table(
        name="choices",
        title="Kernel and learning rate of every method",
        about="Twelve tasks, learned together. Every method is tried in the same way. "
        "The cells are not those of the tables of results.",
        rows=rows,
        reference=rows[0].name,
        layout="choices",
        picture="choices",
    )


def extending_choices_table() -> Table:
    """Return every try of the ways to learn a task that arrives later."""
    rows = []
    for name, way in EXTENDING.items():
        stream, base = ALONE if name == "individual" else INCREMENTAL
        for tried in way.tries().values():
            named = replace(tried, name=f"{name}_{tried.name}")
            row = tried_row(
                way, named, OTHER_CELLS, stream=stream, base=(*base, OTHER_CELLS)
            )
            rows.append(replace(row, group=way.label))
    return Table(
        name="extending_choices",
        title="Kernel and learning rates of every way to add a task",
        about="Ten tasks are known; nucleolus, then cell membrane arrive. The cells "
        "are not those of the tables of results.",
        rows=tuple(rows),
        reference=rows[0].name,
        layout="choices",
        picture="choices",
    )
