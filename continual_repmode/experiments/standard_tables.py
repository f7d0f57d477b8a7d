"""What a researcher and a lab ask: which method is ahead, extend or train from scratch.

Every method has the kernel and the rates that were best on other cells (``choices``).
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from continual_repmode.experiments import paper
from continual_repmode.experiments.choices import (
    ALONE,
    AT_BEST,
    JOINT,
    OTHER_CELLS,
    extending_row,
    joint_settings,
)
from continual_repmode.experiments.methods import (
    FAST_GATES,
    OWN_NORMALIZATION,
    RECIPE,
)
from continual_repmode.experiments.table import Row, Table, experiences
from continual_repmode.tasks import TASKS


def methods_table() -> Table:
    """Return the methods of Table 1 and RepMode with its recipe, each at its best."""
    return Table(
        name="methods",
        title="Methods on twelve tasks, each with its own kernel and learning rate",
        about="Every method has the same data and number of steps; its kernel and "
        "learning rate are those with the lowest validation MSE in `choices`.",
        rows=tuple(
            Row(
                name=name,
                label=way.label,
                settings=("scenario=joint", *joint_settings(name)),
                paper=paper.TABLE_1.get(name),
            )
            for name, way in JOINT.items()
        ),
        reference="multihead_dec",
        layout="joint",
        picture="bars",
    )


PIECES = {
    "foreground": ("patches with structure preferred", ("data.sampling=foreground",)),
    "quarter": ("quarter turns", ("data.rotation=quarter",)),
    "affine": (
        "turns by any angle, scaling",
        ("data.rotation=any", "data.scaling=0.1"),
    ),
    "intensity": ("intensity of light", ("data.intensity=0.1",)),
    "noise": ("noise in light", ("data.noise=0.05",)),
    "mae_ssim": ("loss MAE and SSIM", ("train.loss=mae_ssim",)),
    "spotlight": ("loss Spotlight", ("train.loss=spotlight",)),
    "ema": ("averaged weights", ("train.ema=0.99",)),
    "balanced": ("tasks in turn", ("train.mixing=balanced",)),
}
"""Pieces of a training recipe: name -> label and settings."""

TOGETHER = ("foreground", "affine", "intensity", "noise", "ema", "balanced")
"""The pieces that go together; one of the losses may be added."""


def recipe_table() -> Table:
    """Return each piece of a recipe alone, and all together, against none."""
    known = joint_settings("repmode_recipe")
    plain = tuple(s for s in known if s not in RECIPE)
    dec = joint_settings("multihead_dec")
    normalization: Pieces = {
        "normalization": ("normalization per task", OWN_NORMALIZATION)
    }
    networks: Pieces = {
        **normalization,
        "gates": ("faster gates", FAST_GATES),
        "recipe": ("both: RepMode, recipe", RECIPE),
    }
    trainings = _trainings()
    return Table(
        name="recipe",
        title="Pieces of a training recipe, alone and together",
        about="Twelve tasks, learned together. The cells are not those of the tables "
        "of results. Each network is compared with the paper's RepMode, each training "
        "with that of the same network without any piece.",
        rows=(
            _piece("repmode", "RepMode", "RepMode: network", plain),
            *_pieces("repmode", "repmode", "RepMode: network", plain, networks),
            *_pieces(
                "train", "repmode_recipe", "RepMode, recipe: training", known, trainings
            ),
            _piece("dec", "Multi-Head (Dec.)", "Multi-Head (Dec.)", dec),
            *_pieces(
                "dec", "dec", "Multi-Head (Dec.)", dec, {**normalization, **trainings}
            ),
        ),
        reference="repmode",
        layout="joint",
        picture="bars",
    )


Pieces = Mapping[str, tuple[str, tuple[str, ...]]]


def _trainings() -> Pieces:
    together = tuple(s for name in TOGETHER for s in PIECES[name][1])
    loss = PIECES["mae_ssim"][1]
    return {
        **PIECES,
        "all": ("all but the losses", together),
        "all_mae_ssim": ("all with MAE and SSIM", (*together, *loss)),
    }


def _pieces(
    prefix: str,
    reference: str,
    group: str,
    settings: tuple[str, ...],
    pieces: Pieces,
) -> Iterator[Row]:
    for name, (label, piece) in pieces.items():
        row = _piece(f"{prefix}_{name}", label, group, (*settings, *piece))
        yield replace(row, reference=reference)


def _piece(name: str, label: str, group: str, settings: tuple[str, ...]) -> Row:
    return Row(
        name=name,
        label=label,
        group=group,
        settings=("scenario=joint", *settings, OTHER_CELLS),
        reference=name,
    )


ECONOMY = {
    "gate_only": ("gate only", "null", "additive_conv3"),
    "additive_rank1": ("expert of rank 1", "conv3_rank1", "additive_rank2"),
    "additive_rank2": ("expert of rank 2", "conv3_rank2", "additive_rank2"),
    "additive_rank3": ("expert of rank 3", "conv3_rank3", "additive_rank4"),
    "additive_rank4": ("expert of rank 4", "conv3_rank4", "additive_rank4"),
    "additive_rank8": ("expert of rank 8", "conv3_rank8", "additive_rank4"),
    "additive_rank642": (
        "expert of ranks 6, 4, 2 from the top",
        "conv3_rank6-4-2",
        "additive_rank4",
    ),
    "additive_rank246": (
        "expert of ranks 2, 4, 6 from the top",
        "conv3_rank2-4-6",
        "additive_rank4",
    ),
    "additive_conv3": ("3x3x3 expert", "conv3", "additive_conv3"),
    "additive_conv5": ("5x5x5 expert", "conv5", "additive_conv3"),
}
"""Name -> label, expert, and the way in ``extending_choices`` whose rates it has."""

ON_5X5X5 = ("gate_only", "additive_rank1", "additive_rank2", "additive_rank4")
"""Also measured on a network whose largest expert is 5x5x5: smaller shares of it."""

_GATE_ONLY = ("strategy.expert_mix=softmax", "strategy.expert_init=random", *FAST_GATES)
"""Without an expert there is none to add or to start at zero."""


def _economy_row(name: str, kernel: str = "") -> Row:
    label, expert, near = ECONOMY[name]
    gate = _GATE_ONLY if name == "gate_only" else ()
    row = extending_row(near, f"strategy.expert={expert}", *gate, kernel=kernel)
    return replace(row, name=name, label=label)


def economy_table() -> Table:
    """Return what a new task may cost, and how well it is learned for that."""
    stream, base = ALONE
    rows = [_economy_row(name) for name in ECONOMY]
    rows += [
        replace(row, name=f"k5_{row.name}", label=f"5x5x5 network, {row.label}")
        for row in (_economy_row(name, "k5") for name in ON_5X5X5)
    ]
    return Table(
        name="economy",
        title="What a new task costs: quality against parameters",
        about="Ten tasks are known and stay as they are; nucleolus, then cell membrane "
        "arrive. RepMode adds an expert outside the softmax and normalization of the "
        "task's own. Individual networks share nothing. They learn one earlier task "
        "instead of ten, so their column “all tasks” is the mean of three tasks. "
        f"{AT_BEST}",
        rows=(extending_row("individual", stream=stream, base=base), *rows),
        reference="individual",
        layout="stream",
        picture="parameters",
    )


REAL = (
    "individual",
    "finetuned",
    "additive_conv3",
    "additive_rank4",
    "additive_rank2",
    "adapter_low_rank4",
)
"""Ways to learn a later structure that are compared on real fields."""

_KNOWN_REAL = ["dna", "microtubule", "endoplasmic_reticulum"]
_NEW_REAL = [["cell_membrane"], ["tubulin"]]
_REAL_STEPS = ("train.epochs=500", "train.extension_epochs=600")


def real_fields_table() -> Table:
    """Return whether a network of a few real fields can be extended to one cell."""

    def learn(way: str, known: list[str]) -> Row:
        stream = ("scenario=incremental", experiences([known, *_NEW_REAL]))
        base = ("scenario=base_tasks", experiences([known]), *_REAL_STEPS)
        return extending_row(way, *_REAL_STEPS, stream=stream, base=base)

    rows = [learn(way, _KNOWN_REAL) for way in REAL if way != "individual"]
    return Table(
        name="real_fields",
        title="Extending a network of a few real fields by two structures of one cell",
        about="DNA, and masks of microtubules and of the endoplasmic reticulum, are "
        "known, each from part of one field; the membrane dye and tubulin of one cell "
        "in another part arrive one after the other. The same images, cut apart, are "
        "for training, validation and testing: this tells whether extending works on "
        f"real light, not how well any method predicts new fields. {AT_BEST}",
        rows=(learn("individual", _KNOWN_REAL[:1]), *rows),
        reference="individual",
        layout="stream",
        picture="forgetting",
    )


GROWING = (
    "individual",
    "finetuned",
    "additive_conv3",
    "additive_rank4",
    "adapter_low_rank4",
)
"""Ways to learn that are followed over many tasks."""


def growth_table() -> Table:
    """Return what becomes of all tasks while more and more arrive."""
    streams = {
        "one_by_one": (
            "Twelve tasks, one by one",
            ("scenario=base_tasks", experiences([[TASKS[0]]])),
        ),
        "two_kinds": ("Twelve known, then twelve in other cells", ("scenario=joint",)),
    }
    rows = tuple(
        replace(
            extending_row(way, stream=(f"scenario={scenario}",), base=base),
            name=f"{scenario}_{way}",
            group=group,
            reference=f"{scenario}_individual",
        )
        for scenario, (group, base) in streams.items()
        for way in GROWING
    )
    return Table(
        name="growth",
        title="Quality and size while tasks arrive",
        about="Tasks arrive one after the other: the twelve of the paper, or, when "
        "these are known, the same structures in larger and rounder cells. "
        f"{AT_BEST}",
        rows=rows,
        reference=rows[0].name,
        layout="growth",
        picture="growth",
    )
