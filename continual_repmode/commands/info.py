"""``continual-repmode info``: what a model file says about itself."""

import json
import sys
from collections.abc import Sequence

from continual_repmode.commands._manifest_arguments import Parser, parse

_ABOUT = """\
Tell what is in a model file: the network, its tasks, how images must be prepared, what
it was trained on, and how well it did. Reads the header alone, but for --verify."""


def main(arguments: Sequence[str]) -> int:
    """Print what a model file holds; return the exit status.

    Raises UserError if the file cannot be read or holds no model.
    """
    parser = Parser("info", _ABOUT, "model.safetensors")
    add = parser.add_argument
    add("model", metavar="MODEL", help="a model file")
    add("--json", action="store_true", help="print everything as JSON")
    add(
        "--verify",
        "--hash",
        action="store_true",
        help="read all of the file: compare every task with its fingerprint, and print "
        "the SHA-256 of the file and of the base, by which models that can be merged "
        "are known",
    )
    chosen = parse(parser, arguments)
    if chosen is None:
        return 0

    from continual_repmode.commands._model_facts import format_facts, model_facts

    facts = model_facts(chosen.model, with_hashes=chosen.verify)
    print(json.dumps(facts, indent=1) if chosen.json else format_facts(facts))
    sys.stdout.flush()
    return 0
