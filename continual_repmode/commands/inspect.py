"""``continual-repmode inspect``: what an image file holds."""

import json
import sys
from collections.abc import Sequence

from continual_repmode.commands._manifest_arguments import Parser, parse, say_unused
from continual_repmode.errors import UserError
from continual_repmode.option_fields import add_options, given_options
from continual_repmode.paths import user_path
from continual_repmode.prediction.options import PredictOptions

_ABOUT = """\
Tell what is in an image file: axes, voxel size, scenes and times, channels and their
intensities. With --model, also what it would be as the input of that model, and what
speaks against it. The exit status is 3 if something does, otherwise 0."""

_OF_MODEL = (
    *("tasks", "channel", "voxel_size_um", "model_voxel_size_um", "memory", "device"),
    *("precision", "window", "overlap", "batch_size", "uncertainty"),
)


def main(arguments: Sequence[str]) -> int:
    """Print what an image holds; return the exit status.

    Raises UserError if the file cannot be read, or does not fit the model.
    """
    parser = Parser(
        "inspect", _ABOUT, "field.czi --model model.safetensors --picture field.png"
    )
    add = parser.add_argument
    add("image", metavar="IMAGE", help="a file, an OME-Zarr, or a pattern with {z}")
    add("--model", metavar="MODEL", help="a model file (.safetensors)")
    add("--picture", metavar="FILE.png", help="draw all channels, from above and aside")
    add("--json", action="store_true", help="print everything as JSON")
    add_options(parser, PredictOptions, only=("choices", *_OF_MODEL))
    chosen = parse(parser, arguments)
    if chosen is None:
        return 0
    picture = None if chosen.picture is None else user_path(chosen.picture)
    if picture is not None and picture.suffix.lower() != ".png":
        raise UserError(f"--picture {picture}: give a name that ends with .png")
    given = given_options(chosen, PredictOptions)
    if not chosen.model:
        options = {*chosen.given} - {"--picture", "--json", "--choose"}
        say_unused(chosen, "without --model", *sorted(options))

    from continual_repmode.prediction.inspection import (
        as_input,
        format_inspection,
        image_facts,
        open_for_inspection,
    )

    image = open_for_inspection(chosen.image, given.get("choices", {}))
    facts, needed = image_facts(image), None
    if chosen.model:
        needed = as_input(image, chosen.model, PredictOptions(**given))
    if picture is not None:
        from continual_repmode.prediction.picture import save_picture

        save_picture(image.volume, picture)
    if chosen.json:
        print(json.dumps({**facts, "as_input": needed}, indent=1))
    else:
        print(format_inspection(facts, needed))
        if picture is not None:
            print(f"{picture}: written")
    sys.stdout.flush()
    return 3 if needed and needed["warnings"] else 0
