"""The paper's tables, and continual-learning strategies on its incremental stream."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from types import MappingProxyType

from continual_repmode.experiments import choices, paper, strengths
from continual_repmode.experiments.methods import (
    FAST_GATES,
    METHODS,
    OWN_NORMALIZATION,
    RECIPE,
)
from continual_repmode.experiments.table import Row, RowsLater, Table, stream_row

ABLATIONS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "only_decoder": ("Scope", "only in decoder"),
        "only_encoder": ("Scope", "only in encoder"),
        "without_1x1x1_pair": ("Expert", "without 1x1x1 expert pair"),
        "without_3x3x3_pair": ("Expert", "without 3x3x3 expert pair"),
        "without_5x5x5_pair": ("Expert", "without 5x5x5 expert pair"),
        "without_conv": ("Expert", "without Conv expert"),
        "without_avgp_conv": ("Expert", "without Avgp-Conv expert"),
        "without_avgp": ("Average pooling", "without Avgp"),
        "avgp_3x3x3_only": ("Average pooling", "all use Avgp 3x3x3"),
        "avgp_5x5x5_only": ("Average pooling", "all use Avgp 5x5x5"),
        "gaussian_embedding": ("Gating", "Gaussian task embedding"),
        "two_layer_gate": ("Gating", "two-layer FCN"),
        "sigmoid_gate": ("Gating", "Sigmoid activation"),
        "input_dependent_gate": ("Gating", "input-dependent gating"),
    }
)
"""Option of ``experiment=ablation/`` -> heading and name, in the order of Table 2."""

RECIPES = (
    ("", "RepMode, recipe", RECIPE),
    ("normalization", "only normalization per task", OWN_NORMALIZATION),
    ("gates", "only faster gates", FAST_GATES),
    *(
        (
            name,
            f"recipe, {ABLATIONS[name][1]}",
            (*RECIPE, f"experiment=ablation/{name}"),
        )
        for name in (
            "without_5x5x5_pair",
            "without_conv",
            "two_layer_gate",
            "sigmoid_gate",
        )
    ),
)
"""Rows in addition to those of Table 2: name, label and settings."""

_CHOSEN = (
    "Strength and normalization of the strategies on the RepMode network are those "
    "that lost and missed least in the table `strengths`."
)


def table1() -> Table:
    """Return nine methods that learn twelve tasks together."""
    return Table(
        name="table1",
        title="Table 1: methods on twelve tasks, learned together",
        about="Every method has the same U-Net, data, training and inference.",
        rows=(
            *(
                Row(
                    name=name,
                    label=label,
                    settings=("scenario=joint", "strategy=naive", f"model={name}"),
                    paper=paper.TABLE_1[name],
                )
                for name, label in METHODS.items()
            ),
            Row(
                name="repmode_recipe",
                label="RepMode, recipe",
                settings=(
                    "scenario=joint",
                    "strategy=naive",
                    "model=repmode",
                    *RECIPE,
                ),
            ),
        ),
        reference="multinet",
        layout="joint",
        picture="bars",
    )


def table2() -> Table:
    """Return RepMode and what it becomes without each of its parts."""
    joint = ("scenario=joint", "strategy=naive", "model=repmode")
    ablations = tuple(
        Row(
            name=name,
            label=label,
            settings=(*joint, f"experiment=ablation/{name}"),
            group=group,
            paper=paper.TABLE_2[name],
        )
        for name, (group, label) in ABLATIONS.items()
    )
    with_recipe = tuple(
        Row(
            name=f"recipe_{name}".rstrip("_"),
            label=label,
            settings=(*joint, *settings),
            group="With recipe",
        )
        for name, label, settings in RECIPES
    )
    original = Row(
        name="repmode",
        label="RepMode",
        settings=joint,
        group="Original",
        paper=paper.TABLE_2["repmode"],
    )
    return Table(
        name="table2",
        title="Table 2: parts of RepMode left out or exchanged",
        about="Twelve tasks, learned together.",
        rows=(*ablations, original, *with_recipe),
        reference="repmode",
        layout="joint",
        picture="bars",
    )


def _strategies() -> tuple[Row, ...]:
    """Return strategies on the RepMode network, then bounds of what is possible."""
    on_repmode = partial(stream_row, model="repmode", group="RepMode network")
    alone = {name for name in strengths.names() if strengths.learns_first(name)}
    tried = [
        on_repmode(name, label, strategy=name, settings=strengths.chosen_settings(name))
        for name, label in strengths.names().items()
        if name != "repmode"
    ]
    return (
        on_repmode(
            "repmode_own",
            "RepMode, experts frozen, own normalization",
            strategy="repmode_paper",
            settings=("strategy.private_bn=true",),
        ),
        *(replace(row, base=None) if row.name in alone else row for row in tried),
        on_repmode(
            "cumulative", "cumulative (sees all earlier data)", strategy="cumulative"
        ),
        Row(
            name="joint",
            label="joint (all tasks at once)",
            settings=("scenario=incremental", "model=repmode", "strategy=joint"),
            group="RepMode network",
        ),
    )


def _strategies_with_recipe() -> Iterator[Row]:
    """Give strategies that forget little on the network that learned by the recipe."""
    known = choices.joint_settings("repmode_recipe")
    for name in ("replay", "si", "mas"):
        yield Row(
            name=f"recipe_{name}",
            label=strengths.names()[name],
            settings=(
                "scenario=incremental",
                *(s for s in known if not s.startswith("strategy=")),
                f"strategy={name}",
                *strengths.chosen_settings(name),
            ),
            base=None
            if strengths.learns_first(name)
            else ("scenario=base_tasks", *known),
            group="RepMode network, recipe",
        )


def table3() -> Table:
    """Return two tasks that arrive later: the rows of the paper, then strategies."""
    of_paper = (
        ("multinet", "Multi-Net, individual training", "individual"),
        ("multihead_dec", "Multi-Head (Dec.), all fine-tuned", "naive"),
        ("repmode", "RepMode, experts frozen", "repmode_paper"),
    )
    rows = tuple(
        replace(
            stream_row(name, label, model=name, strategy=strategy, group="Table 3"),
            paper=paper.TABLE_3[name],
        )
        for name, label, strategy in of_paper
    )
    copied = stream_row(
        "multihead_dec_copied",
        "Multi-Head (Dec.), decoder copied from the closest task",
        model="multihead_dec",
        strategy="naive",
        group="Multi-Head (Dec.) network",
        settings=("strategy.init=closest",),
    )
    return Table(
        name="table3",
        title="Table 3: two tasks that arrive later",
        about=f"Ten tasks are known; nucleolus, then cell membrane arrive. {_CHOSEN} "
        f"Under “Each at its best”: {choices.AT_BEST} Individual networks learn one "
        "earlier task there instead of ten, so their column “all tasks” is the mean of "
        "three tasks.",
        rows=RowsLater(
            lambda: (
                *rows,
                copied,
                *_strategies(),
                *_at_best(),
                *_strategies_with_recipe(),
            )
        ),
        reference="repmode",
        layout="stream",
        picture="forgetting",
    )


def _at_best() -> Iterator[Row]:
    """Yield every way to extend; RepMode's are compared with the obvious rival."""
    for name in choices.EXTENDING:
        row = choices.extending_row(name)
        if name == "individual":
            stream, base = choices.ALONE
            row = choices.extending_row(name, stream=stream, base=base)
        rival = "adapter_low_rank4" if name.startswith("additive") else "individual"
        yield replace(row, group="Each at its best", reference=rival)


def strategies_table() -> Table:
    """Return strategies that all start from the same RepMode network."""
    frozen = stream_row(
        "repmode",
        "RepMode, experts frozen",
        model="repmode",
        strategy="repmode_paper",
        group="RepMode network",
    )
    return Table(
        name="strategies",
        title="Continual-learning strategies on the RepMode network",
        about="Ten tasks are known; nucleolus, then cell membrane arrive. All but SI "
        f"and joint start from the same network. {_CHOSEN}",
        rows=RowsLater(lambda: (frozen, *_strategies())),
        reference="repmode",
        layout="stream",
        picture="forgetting",
    )
