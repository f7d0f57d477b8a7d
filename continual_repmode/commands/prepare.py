"""``continual-repmode prepare``: bring volumes onto the model grid ahead of a run."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from continual_repmode.commands._manifest_arguments import (
    manifest_parser,
    parse,
    part_of,
    say_unused,
    workers_of,
)
from continual_repmode.manifests.options import GridOptions
from continual_repmode.option_fields import given_options, option

if TYPE_CHECKING:
    from continual_repmode.volumes.preparation import Order, Storage
    from continual_repmode.volumes.resampling import ResizeMethod

_ABOUT = """\
Z-score and resize every volume of a manifest and keep the result on disk.

A run does this by itself; here it can be done ahead, by several processes or machines
at once that share a folder. Interrupted work resumes where it stopped, and what has
changed, in a file or in a setting, is prepared again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PrepareOptions(GridOptions):
    """Options of ``continual-repmode prepare``; its ``--help`` says what they do."""

    resize: "ResizeMethod" = option(
        "paper",
        "cubic splines as in the published code, or averaging (default: paper)",
        choices=("paper", "fast"),
    )
    order: "Order" = option(
        "zscore_first",
        "z-score the raw voxels, as the paper, or the resized (default: zscore_first)",
        choices=("zscore_first", "resize_first"),
    )
    storage: "Storage" = option(
        "float16",
        "type of the prepared voxels (default: float16)",
        choices=("float16", "float32"),
    )


def main(arguments: Sequence[str]) -> int:
    """Prepare the volumes of a manifest; return the exit status.

    Raises UserError if a volume cannot be prepared or the disk lacks the space.
    """
    parser = manifest_parser(
        "prepare", _ABOUT, "volumes.csv --resize fast", PrepareOptions
    )
    chosen = parse(parser, arguments)
    if chosen is None:
        return 0
    options = PrepareOptions(**given_options(chosen, PrepareOptions))

    from continual_repmode.files import format_bytes
    from continual_repmode.manifests.check import refuse_doubtful
    from continual_repmode.manifests.manifest import ManifestCollection
    from continual_repmode.manifests.preparing import missing_bytes, prepare_pairs

    collection = ManifestCollection(
        chosen.manifest,
        resize=options.resize,
        order=options.order,
        storage=options.storage,
        **options.of_collection(),
    )
    say_unused(chosen, "on what is prepared: the split is left to the run", "--seed")
    for note in collection.notes():
        print(f"{chosen.manifest}: {note}")
    refuse_doubtful(collection, options.yes)
    pairs = part_of(chosen).take([pair for pair, _ in collection.all_pairs()])
    print(f"{len(pairs)} pairs, at most {format_bytes(missing_bytes(pairs))} to write")
    prepare_pairs(pairs, workers=workers_of(chosen))
    if pairs:
        print(f"prepared in {pairs[0].store.folder}")
    return 0
