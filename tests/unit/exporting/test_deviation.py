import pytest
import torch

from continual_repmode.errors import UserError
from continual_repmode.exporting.deviation import checked_shapes, measure_deviation
from continual_repmode.models.deploy import OneTask


def altered(net, alter, task="dna"):
    one = OneTask(net, task)
    return lambda signal: alter(one(signal))


def test_deviations_are_told_and_larger_ones_refused(make_net):
    net = make_net(depth=1)
    assert measure_deviation(net, "dna", OneTask(net, "dna"), True) == (0.0, 0.0)

    def alter(prediction):
        changed = prediction.clone()
        changed[0, 0, 0, 0, 0] += 2e-5 * prediction.abs().max()
        return changed

    deviation = measure_deviation(net, "dna", altered(net, alter), True)
    assert deviation.relative == pytest.approx(2e-5, rel=0.05)
    assert deviation.absolute > 0
    for wrong, message in (
        (altered(net, lambda p: p * 1.001), r"differs from the network by 1\.0e-03"),
        (altered(net, lambda p: p * torch.nan), "differs from the network by nan"),
        (altered(net, lambda p: p[..., :-1]), r"has shape \(1, 1, 2, 4, 3\)"),
        (OneTask(net, "lysosome"), "differs from the network"),
    ):
        with pytest.raises(UserError, match=message):
            measure_deviation(net, "dna", wrong, True)


def test_sizes_that_divide_and_that_do_not_and_batches_are_checked():
    shapes = list(checked_shapes((4, 4, 4), any_batch=True))
    divides = [all(side % 4 == 0 for side in shape[1:]) for shape in shapes]
    assert any(divides)
    assert not all(divides)
    assert {shape[0] for shape in shapes} == {1, 2}
    assert {shape[0] for shape in checked_shapes((1, 4, 4), any_batch=False)} == {1}
