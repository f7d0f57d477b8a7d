"""``continual-repmode import``: weights of the published programs as a model file."""

from collections.abc import Sequence

from continual_repmode.commands._manifest_arguments import (
    Parser,
    add_model_output,
    model_output,
    parse,
)
from continual_repmode.tasks import TASKS, meant_task

_ABOUT = """\
Make a model file of weights that another program trained.

Checkpoints of the published RepMode release (Correr-Zhou/RepMode) and of pytorch_fnet
(AllenCellModeling/pytorch_fnet, fnet_nn_3d) become a model file, which predict, info
and export take, and a RepMode one extend and merge, too. Every tensor has one place, so
predictions are the same. Nothing in a file is run; one that holds anything but tensors
and plain values is refused."""


def main(arguments: Sequence[str]) -> int:
    """Write a model file; return the exit status.

    Raises UserError if a file cannot be imported, or the output is in the way.
    """
    chosen = parse(_parser(), arguments)
    if chosen is None:
        return 0
    out = model_output(chosen)
    named = [name.strip() for name in (chosen.tasks or "").split(",") if name.strip()]
    tasks = [meant_task(name, TASKS) for name in named]

    from continual_repmode.models import save_model
    from continual_repmode.prediction.setup import check_voxel_size
    from continual_repmode.published_weights import VOXEL_SIZE_UM, import_weights

    voxel_size_um = tuple(chosen.voxel_size or VOXEL_SIZE_UM)
    check_voxel_size("--voxel-size", voxel_size_um)
    net, card = import_weights(chosen.weights, chosen.source, tasks, voxel_size_um)
    save_model(net, out, card)
    print(
        f"{out}: {', '.join(net.task_names)} ({len(net.task_names)} in all), "
        f"{net.num_parameters():,} parameters"
    )
    return 0


def _parser() -> Parser:
    parser = Parser(
        "import",
        _ABOUT,
        "model.p --from repmode --out model.safetensors",
    )
    add = parser.add_argument
    add(
        "weights",
        nargs="+",
        metavar="WEIGHTS",
        help="a checkpoint of RepMode, or one of pytorch_fnet for each task",
    )
    add(
        "--from",
        dest="source",
        required=True,
        choices=("repmode", "fnet"),
        help="the program that wrote it",
    )
    add(
        "--tasks",
        metavar="NAMES",
        help="names of the tasks in the order of their labels: dna,nucleolus (default: "
        "as a checkpoint of RepMode names its data sets)",
    )
    add_model_output(parser)
    add(
        "--voxel-size",
        type=float,
        nargs=3,
        metavar=("Z", "Y", "X"),
        help="of the images that it was trained on, as resized, in um (default: 0.29 "
        "0.29 0.29, as published)",
    )
    return parser
