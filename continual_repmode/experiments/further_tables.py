"""Tables beyond the paper: ways to extend, few images, orders, and transfer."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations

from continual_repmode.experiments.choices import (
    ALONE,
    AT_BEST,
    INCREMENTAL,
    extending_row,
)
from continual_repmode.experiments.table import Row, Table, experiences, stream_row
from continual_repmode.tasks import TASKS, display_name

LABEL_COUNTS = (1, 2, 4, 8)
"""Labelled training images of a new task in ``label_efficiency``."""

LABEL_STEPS = "train.extension_epochs=120"
"""Long enough that images, not steps, are what is short."""

_EXPERTS = {
    "gate_only": "gate only",
    **{f"conv3_rank{rank}": f"3x3x3 expert of rank {rank}" for rank in (1, 2, 3, 4)},
    "conv1": "1x1x1 expert",
    "conv3": "3x3x3 expert (paper)",
    "conv5": "5x5x5 expert",
}
_SHARED_ONLY = {"conv3_rank2", "conv5"}
"""Tried with the normalization that all share only."""
_STARTS = {
    "gate_uniform": ("gate starts uniform", "gate_init=uniform"),
    "gate_closest": ("gate starts as that of the closest task", "gate_init=closest"),
    "zero": ("starts at zero", "expert_init=zero"),
    "use_extensions": ("earlier extensions used", "use_extensions=true"),
}


def _extensions() -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Give name, label and settings of ways to extend a RepMode network."""
    for name, label in _EXPERTS.items():
        expert = f"strategy.expert={'null' if name == 'gate_only' else name}"
        yield name, label, (expert,)
        if name not in _SHARED_ONLY:
            own = f"{label.removesuffix(' (paper)')}, own normalization"
            yield f"{name}_private_bn", own, (expert, "strategy.private_bn=true")
    for name, (label, setting) in _STARTS.items():
        settings = ("strategy.expert=conv3", f"strategy.{setting}")
        yield f"conv3_{name}", f"3x3x3 expert, {label}", settings


def extensions_table() -> Table:
    """Return ways to extend a network, by quality and parameters."""
    return Table(
        name="extensions",
        title="What a new task gets: quality against parameters",
        about="Ten tasks are known and stay as they are; nucleolus, then cell membrane "
        "arrive.",
        rows=tuple(
            stream_row(
                name,
                label,
                model="repmode",
                strategy="repmode_paper",
                settings=settings,
            )
            for name, label, settings in _extensions()
        ),
        reference="conv3",
        layout="stream",
        picture="parameters",
    )


def label_efficiency_table() -> Table:
    """Return ways to learn a new task, by its number of labelled images."""
    return Table(
        name="label_efficiency",
        title="How many labelled images a new task needs",
        about="Ten tasks are known; nucleolus, then cell membrane arrive with few "
        "training images. Validation images are not counted. The number of steps is "
        "the same for all. Individual networks at their best learn one earlier task "
        f"instead of ten. At its best: {AT_BEST}",
        rows=tuple(row for count in LABEL_COUNTS for row in _with_images(count)),
        reference=f"extension_{LABEL_COUNTS[0]}",
        layout="stream",
        picture="images",
    )


def _with_images(count: int) -> Iterator[Row]:
    """Give every way to learn a new task from so many images."""
    few = (f"data.num_new={count}", LABEL_STEPS)
    for name, label, model, strategy in (
        ("extension", "RepMode extension", "repmode", "repmode_paper"),
        ("finetuned", "RepMode, all fine-tuned", "repmode", "naive"),
        ("scratch", "from scratch (Multi-Net)", "multinet", "individual"),
    ):
        row = stream_row(name, label, model=model, strategy=strategy, settings=few)
        yield _counted(row, count, "extension")
    for name in ("individual", "additive_conv3", "additive_rank4"):
        stream, base = ALONE if name == "individual" else INCREMENTAL
        row = extending_row(name, *few, stream=stream, base=base)
        row = replace(row, label=f"{row.label}, at its best")
        yield _counted(row, count, "individual")


def _counted(row: Row, count: int, reference: str) -> Row:
    return replace(
        row,
        name=f"{row.name}_{count}",
        group=f"{count} labelled image" + "s" * (count > 1),
        reference=f"{reference}_{count}",
        num_images=count,
    )


ORDERS = (
    ("nucleolus", "cell_membrane", "dna", "mitochondria"),
    ("mitochondria", "dna", "cell_membrane", "nucleolus"),
    ("cell_membrane", "mitochondria", "nucleolus", "dna"),
)
"""In which structures of different sizes arrive, after the eight others."""


def orders_table() -> Table:
    """Return the same tasks in three orders of arrival."""
    ways = (
        ("frozen", "RepMode", ("strategy=repmode_paper",)),
        (
            "extended",
            "RepMode, earlier extensions used",
            ("strategy=repmode_paper", "strategy.use_extensions=true"),
        ),
        ("finetuned", "all fine-tuned", ("strategy=naive",)),
    )
    base = [task for task in TASKS if task not in ORDERS[0]]
    rows = tuple(
        Row(
            name=f"{name}_{number}",
            label=label,
            settings=(
                "scenario=incremental",
                experiences([base, *([task] for task in order)]),
                *settings,
            ),
            base=("scenario=base_tasks", experiences([base]), "strategy=naive"),
            group=", ".join(map(display_name, order)),
            reference=f"{name}_1",
        )
        for name, label, settings in ways
        for number, order in enumerate(ORDERS, start=1)
    )
    return Table(
        name="orders",
        title="Does it matter in which order tasks arrive?",
        about="Eight tasks are known; four arrive one after the other, in three "
        "orders. Every way to learn is compared with itself in the first order.",
        rows=rows,
        reference="frozen_1",
        layout="stream",
        picture="forgetting",
    )


TRANSFER_TASKS = (
    "dna",
    "nuclear_envelope",
    "nucleolus",
    "actin_filament",
    "cell_membrane",
)
"""Three structures of the nucleus and two of the cell's outline."""


def transfer_table() -> Table:
    """Return what each structure gains where one other is known."""
    same_steps = ("train.epochs=60", "train.extension_epochs=60")

    def alone(task: str) -> tuple[str, ...]:
        stream = ("scenario=base_tasks", experiences([[task]]))
        return (*stream, "strategy=naive", *same_steps)

    scratch = tuple(
        Row(
            name=f"scratch_{task}",
            label="nothing",
            settings=alone(task),
            group=display_name(task),
            reference=f"scratch_{task}",
        )
        for task in TRANSFER_TASKS
    )
    extended = tuple(
        Row(
            name=f"{known}_to_{new}",
            label=display_name(known),
            settings=(
                "scenario=incremental",
                experiences([[known], [new]]),
                "strategy=repmode_paper",
                *same_steps,
            ),
            base=alone(known),
            group=display_name(new),
            reference=f"scratch_{new}",
        )
        for new, known in permutations(TRANSFER_TASKS, 2)
    )
    return Table(
        name="transfer",
        title="What a structure gains from another that is known",
        about="A RepMode network learns one structure and is then extended to another. "
        "The new one is compared with a network that learned it alone, in as many "
        "steps.",
        rows=scratch + extended,
        reference=scratch[0].name,
        layout="transfer",
        picture="transfer",
    )
