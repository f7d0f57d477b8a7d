"""What each table consists of: rows of settings, and the paper's numbers for them.

Imports nothing heavy, so that the command can list the tables at once.
"""

from collections.abc import Mapping
from dataclasses import replace
from itertools import permutations
from types import MappingProxyType

from continual_repmode.experiments import paper
from continual_repmode.experiments.strengths import strengths_table
from continual_repmode.experiments.table import Row, Table
from continual_repmode.tasks import TASKS, display_name

METHODS: Mapping[str, str] = MappingProxyType(
    {
        "multinet": "Multi-Net",
        "multihead_dec": "Multi-Head (Dec.)",
        "multihead_las": "Multi-Head (Las.)",
        "condnet": "CondNet",
        "tsn": "TSNs",
        "pipofan": "PIPO-FAN",
        "dodnet": "DoDNet",
        "tgnet": "TGNet",
        "repmode": "RepMode",
    }
)
"""Option of ``model`` -> name, in the order of Table 1."""

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

BASELINES: Mapping[str, str] = MappingProxyType(
    {
        "replay": "Replay",
        "der": "DER",
        "lwf": "LwF",
        "ewc": "EWC",
        "si": "SI",
        "mas": "MAS",
        "gem": "GEM",
        "agem": "A-GEM",
    }
)
"""Option of ``strategy`` -> name."""

LABEL_COUNTS = (1, 2, 4, 8)
"""Labelled training images of a new task in ``label_efficiency``."""

EXTENSIONS: Mapping[str, tuple[str, tuple[str, ...]]] = MappingProxyType(
    {
        "gate_only": ("gate only", ("strategy.expert=null",)),
        "gate_only_private_bn": (
            "gate only, own normalization",
            ("strategy.expert=null", "strategy.private_bn=true"),
        ),
        "conv3_rank1": ("3x3x3 expert of rank 1", ("strategy.expert=conv3_rank1",)),
        "conv3_rank4": ("3x3x3 expert of rank 4", ("strategy.expert=conv3_rank4",)),
        "conv1": ("1x1x1 expert", ("strategy.expert=conv1",)),
        "conv1_private_bn": (
            "1x1x1 expert, own normalization",
            ("strategy.expert=conv1", "strategy.private_bn=true"),
        ),
        "conv3": ("3x3x3 expert (paper)", ("strategy.expert=conv3",)),
        "conv3_private_bn": (
            "3x3x3 expert, own normalization",
            ("strategy.expert=conv3", "strategy.private_bn=true"),
        ),
        "conv5": ("5x5x5 expert", ("strategy.expert=conv5",)),
        "conv3_gate_uniform": (
            "3x3x3 expert, gate starts uniform",
            ("strategy.expert=conv3", "strategy.gate_init=uniform"),
        ),
        "conv3_gate_closest": (
            "3x3x3 expert, gate starts as that of the closest task",
            ("strategy.expert=conv3", "strategy.gate_init=closest"),
        ),
        "conv3_use_extensions": (
            "3x3x3 expert, earlier extensions used",
            ("strategy.expert=conv3", "strategy.use_extensions=true"),
        ),
    }
)
"""Name -> label and settings of ways to extend a RepMode network."""


def stream_row(
    name: str, label: str, model: str, strategy: str, *more: str, group: str = ""
) -> Row:
    """Return a run of the incremental stream that starts from trained base tasks."""
    return Row(
        name=name,
        label=label,
        settings=(
            "scenario=incremental",
            f"model={model}",
            f"strategy={strategy}",
            *more,
        ),
        base=("scenario=base_tasks", f"model={model}", "strategy=naive"),
        group=group,
    )


def _table1() -> Table:
    return Table(
        name="table1",
        title="Table 1: methods on twelve tasks, learned together",
        about="Every method has the same U-Net, data, training and inference.",
        rows=tuple(
            Row(
                name=name,
                label=label,
                settings=("scenario=joint", "strategy=naive", f"model={name}"),
                paper=paper.TABLE_1[name],
            )
            for name, label in METHODS.items()
        ),
        reference="multinet",
        layout="joint",
        picture="bars",
    )


def _table2() -> Table:
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
        rows=(*ablations, original),
        reference="repmode",
        layout="joint",
        picture="bars",
    )


def _strategies() -> tuple[Row, ...]:
    """Return the baselines on the RepMode network, with bounds below and above."""
    named = {
        "naive": "all fine-tuned",
        **BASELINES,
        "cumulative": "cumulative (sees all earlier data)",
    }
    joint = Row(
        name="joint",
        label="joint (all tasks at once)",
        settings=("scenario=incremental", "model=repmode", "strategy=joint"),
        group="RepMode network",
    )
    rows = (
        stream_row(name, label, "repmode", name, group="RepMode network")
        for name, label in named.items()
    )
    alone = {"si"}  # measures while it learns, so it learns the base tasks itself
    found = [replace(row, base=None) if row.name in alone else row for row in rows]
    return (*found, joint)


def _table3() -> Table:
    of_paper = (
        ("multinet", "Multi-Net, individual training", "individual"),
        ("multihead_dec", "Multi-Head (Dec.), all fine-tuned", "naive"),
        ("repmode", "RepMode, experts frozen", "repmode"),
    )
    rows = tuple(
        replace(
            stream_row(name, label, name, strategy, group="Table 3"),
            paper=paper.TABLE_3[name],
        )
        for name, label, strategy in of_paper
    )
    return Table(
        name="table3",
        title="Table 3: two tasks that arrive later",
        about="Ten tasks are known; nucleolus, then cell membrane arrive.",
        rows=rows + _strategies(),
        reference="repmode",
        layout="stream",
        picture="forgetting",
    )


def _strategies_table() -> Table:
    frozen = stream_row(
        "repmode", "RepMode (experts frozen)", "repmode", "repmode", group="RepMode"
    )
    return Table(
        name="strategies",
        title="Continual-learning strategies on the RepMode network",
        about="Ten tasks are known; nucleolus, then cell membrane arrive. All start "
        "from the same network.",
        rows=(frozen, *_strategies()),
        reference="repmode",
        layout="stream",
        picture="forgetting",
    )


def _extensions() -> Table:
    return Table(
        name="extensions",
        title="What a new task gets: quality against parameters",
        about="Ten tasks are known and stay as they are; nucleolus, then cell membrane "
        "arrive.",
        rows=tuple(
            stream_row(name, label, "repmode", "repmode", *settings)
            for name, (label, settings) in EXTENSIONS.items()
        ),
        reference="conv3",
        layout="stream",
        picture="parameters",
    )


def _label_efficiency() -> Table:
    ways = (
        ("extension", "RepMode extension", "repmode", "repmode"),
        ("finetuned", "RepMode, all fine-tuned", "repmode", "naive"),
        ("scratch", "from scratch (Multi-Net)", "multinet", "individual"),
    )
    rows = tuple(
        replace(
            stream_row(f"{name}_{count}", label, model, strategy, setting),
            group=f"{count} labelled image" + "s" * (count > 1),
            reference=f"extension_{count}",
            num_images=count,
        )
        for count in LABEL_COUNTS
        for setting in (f"data.num_new={count}",)
        for name, label, model, strategy in ways
    )
    return Table(
        name="label_efficiency",
        title="How many labelled images a new task needs",
        about="Ten tasks are known; nucleolus, then cell membrane arrive with few "
        "training images. Validation images are not counted. The number of steps is "
        "the same for all.",
        rows=rows,
        reference=f"extension_{LABEL_COUNTS[0]}",
        layout="stream",
        picture="images",
    )


ORDERS = (
    ("nucleolus", "cell_membrane", "dna", "mitochondria"),
    ("mitochondria", "dna", "cell_membrane", "nucleolus"),
    ("cell_membrane", "mitochondria", "nucleolus", "dna"),
)
"""In which structures of different sizes arrive, after the eight others."""


def _orders() -> Table:
    ways = (
        ("frozen", "RepMode", ("strategy=repmode",)),
        (
            "extended",
            "RepMode, earlier extensions used",
            ("strategy=repmode", "strategy.use_extensions=true"),
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
                _experiences([base, *([task] for task in order)]),
                *settings,
            ),
            base=("scenario=base_tasks", _experiences([base]), "strategy=naive"),
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


def _transfer() -> Table:
    same_steps = ("train.epochs=60", "train.extension_epochs=60")

    def alone(task: str) -> tuple[str, ...]:
        stream = ("scenario=base_tasks", _experiences([[task]]))
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
                _experiences([[known], [new]]),
                "strategy=repmode",
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


def _experiences(experiences: list[list[str]]) -> str:
    listed = ",".join(f"[{','.join(tasks)}]" for tasks in experiences)
    return f"scenario.experiences=[{listed}]"


TABLES: Mapping[str, Table] = MappingProxyType(
    {
        table.name: table
        for table in (
            _table1(),
            _table2(),
            _table3(),
            _extensions(),
            _label_efficiency(),
            _strategies_table(),
            strengths_table(),
            _orders(),
            _transfer(),
        )
    }
)
"""The tables by name."""
