"""A network learned elsewhere, taken as what the first experience has left."""

import json
from pathlib import Path
from typing import Any

from continual_repmode.errors import UserError
from continual_repmode.models import TaskNetwork, load_model


def load_base(
    path: str | Path, like: TaskNetwork, *, may_be_frozen: bool
) -> TaskNetwork:
    """Read a network that has learned the tasks of the first experience.

    ``like``: the network that would otherwise have been trained.
    ``may_be_frozen``: whether the run can begin with weights that nothing trains any
        more.
    Raises UserError if the file holds no network, or its tasks or architecture are
        others, or it is frozen and must not be.
    """
    net = load_model(path)
    if net.task_names != like.task_names:
        raise UserError(
            f"base_model={path}: its tasks are {', '.join(net.task_names)}, those of "
            f"the first experience {', '.join(like.task_names)}: give a model of these "
            "tasks in this order, or choose another scenario"
        )
    found, expected = _structure(net), _structure(like)
    for key in sorted(found.keys() | expected.keys()):
        if found.get(key) != expected.get(key):
            raise UserError(
                f"base_model={path}: its {key} is {found.get(key)}, that of this run "
                f"{expected.get(key)}: choose model and its settings as they were for "
                "that file, or give another"
            )
    if net.is_frozen and not may_be_frozen:
        raise UserError(
            f"base_model={path}: this network is frozen, as strategy=repmode leaves "
            "it, and cannot be fine-tuned: give one learned with strategy=naive or "
            "strategy=joint"
        )
    return net


def _structure(net: TaskNetwork) -> dict[str, Any]:
    """Return the architecture as JSON gives it back, frozen or not."""
    plain: dict[str, Any] = json.loads(json.dumps(net.architecture()))
    plain.pop("num_frozen_tasks", None)
    return plain
