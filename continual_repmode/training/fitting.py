"""Whether plugins and experiences fit the loop of the strategies."""

from collections.abc import Sequence

from torch.nn.modules.batchnorm import _BatchNorm

from continual_repmode.errors import UserError
from continual_repmode.models import TaskNetwork
from continual_repmode.training.avalanche_api import CLExperience, SupervisedPlugin
from continual_repmode.training.context import context_of, task_names_of

_OWN = "take that of continual_repmode.training.strategies"
_CLASSES = "it is made for classes, of which there are none here; leave it out"
_NO_STREAM = (
    "it waits for an evaluation while the network learns, which is that of the "
    "validation images here: the best weights are kept without it; leave it out"
)
_REFUSED = {
    **dict.fromkeys(("LwFPlugin", "AGEMPlugin"), f"it is made for classes; {_OWN}"),
    **dict.fromkeys(
        (
            *("BiCPlugin", "CWRStarPlugin", "CoPEPlugin", "FeatureDistillationPlugin"),
            *("GDumbPlugin", "GSS_greedyPlugin", "GenerativeReplayPlugin", "LFLPlugin"),
            *("MIRPlugin", "RARPlugin", "RWalkPlugin", "TrainGeneratorAfterExpPlugin"),
        ),
        _CLASSES,
    ),
    "EarlyStoppingPlugin": _NO_STREAM,
}
"""Plugins of Avalanche that cannot work here -> why, and what to do."""


def check_plugins(plugins: Sequence[SupervisedPlugin]) -> None:
    """Refuse plugins of Avalanche that would fail, or never do anything."""
    for plugin in plugins:
        kind = type(plugin)
        reason = _REFUSED.get(kind.__name__)
        if getattr(plugin, "metric", None) == "val_loss":
            reason = _NO_STREAM
        if reason and kind.__module__.startswith("avalanche."):
            raise UserError(f"plugins: {kind.__name__} of Avalanche: {reason}")


def check_order(experience: CLExperience, net: TaskNetwork, has_learned: bool) -> None:
    """Raise if what comes before an experience has not been learned.

    A network that has not learned anything, here or elsewhere, has seen no batch.
    """
    earlier = context_of(experience).stream_tasks[: min(experience.task_labels)]
    missing = [name for name in earlier if name not in net.task_names]
    norms = [module for module in net.modules() if isinstance(module, _BatchNorm)]
    unseen = (norm.num_batches_tracked == 0 for norm in norms)
    is_first = experience.current_experience == 0  # then the rest was elsewhere
    if norms and not is_first and not has_learned and all(unseen):
        missing = list(earlier)
    if missing:
        raise UserError(
            f"experience {experience.current_experience} "
            f"({', '.join(task_names_of(experience))}): the network has not learned "
            f"{', '.join(missing)}, which come before; train the experiences in the "
            "order of the stream"
        )
