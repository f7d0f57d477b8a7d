"""One of several processes that share a batch: every network, and every loss.

``python shared_step.py FILE``, with the variables that ``torchrun`` sets: the first
process writes what came out. Alone, it is the reference.
"""

import copy
import sys

import torch

from continual_repmode import distributed
from continual_repmode.models.model_config import ModelConfig
from continual_repmode.offers import offers
from continual_repmode.training.losses import LOSSES, over_recorded

TASKS = ("dna", "nucleolus", "golgi", "actin")
LABELS = [0, 2, 2, 2, 0]
"""Of five samples: one process has both tasks, of three one has none of the first."""

OWN_PARTS = {"private_bn": True, "private_expert": "conv3", "scope": "decoder"}


def networks():
    """Make every network, in float64; RepMode also with normalization per task."""
    for name, offer in offers("networks").items():
        config = offer.load(ModelConfig)
        options = [OWN_PARTS, {"private_bn": True}, {}] if name == "repmode" else [{}]
        for more in options:
            torch.manual_seed(0)
            net = config(width=4, depth=2, **more).build(TASKS).double().train()
            yield f"{name} {more}", net
    torch.manual_seed(0)
    net = copy.deepcopy(net)


def step(net, signal, target, labels, whole):
    """Return the prediction, after gradients are those of the whole batch."""
    predicted = net(signal, labels)
    outputs = [predicted, *net.side_predictions]
    loss = sum((out - target).square().sum() for out in outputs) / whole
    loss.backward()
    distributed.sum_gradients(net.parameters())
    return predicted.detach()


def losses(predicted, target):
    """Return each loss of a batch, and its gradient in the rows of this process."""
    for name, loss in LOSSES.items():
        rows = distributed.share(list(predicted))
        own = torch.stack(rows) if rows else predicted[:0]
        wanted = target[distributed.rank() :: distributed.world()]
        own.requires_grad_()
        part = over_recorded(loss)(own, wanted) * (len(own) / len(predicted))
        part.backward()
        yield (
            f"{name} of {len(predicted)}",
            {
                "loss": distributed.sum_over_processes(part.detach()),
                "gradients": torch.stack(distributed.in_turn(list(own.grad))),
            },
        )


def main(file):
    torch.manual_seed(1)
    signal, target = torch.randn(2, len(LABELS), 1, 8, 16, 16, dtype=torch.float64)
    found = {}
    with distributed.joined():
        for name, net in networks():
            own = [
                torch.stack(list(distributed.share(list(values))))
                if distributed.share(list(values))
                else values[:0]
                for values in (signal, target, torch.tensor(LABELS))
            ]
            predicted = step(net, *own, whole=target.numel())
            found[name] = {
                "predicted": torch.stack(distributed.in_turn(list(predicted))),
                "buffers": dict(net.named_buffers()),
                "gradients": {n: p.grad for n, p in net.named_parameters()},
            }
        target[1, ..., :7] = torch.nan  # padding in one image
        for some in (5, 2):  # one of three processes has nothing of two samples
            found.update(losses(2 * signal[:some], target[:some]))
        if distributed.is_first():
            torch.save(found, file)


if __name__ == "__main__":
    main(sys.argv[1])
