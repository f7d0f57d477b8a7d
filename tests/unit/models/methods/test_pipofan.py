from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from continual_repmode.errors import UserError
from continual_repmode.models.methods.pipofan import AdaptiveFusion, PipoFan

TASKS = ("red", "green", "blue")


@pytest.fixture
def net():
    torch.manual_seed(0)
    net = PipoFan(TASKS, width=2, depth=3, kernel_size=3).double()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.momentum = 1.0  # running statistics are those of the last batch
    return net


def residual(a, b):
    """Parameters of one residual block: BN and conv3 twice, BN and conv1 to widen."""
    return 2 * a + 27 * a * b + 2 * b + 27 * b * b + (2 * a + a * b) * (a != b)


def expected_size(tasks, width, depth, k):
    c = [width * 2**level for level in range(depth + 1)]
    same = width + width**2  # first level: one input channel
    same += sum(2 * a * b + b * b for a, b in pairwise(c))  # [Down; a]
    same += sum(2 * a * a + a * a for a in c[:-1])  # decoder
    sampling = 8 * sum(a * a + 2 * a * a for a in c[:-1])
    norms = 2 * (2 * sum(c) + 4 * sum(c[:-1]))
    inward = sum(
        residual(a, b) for level in range(1, depth + 1) for a, b in pairwise(c[:level])
    )
    outward = sum(
        residual(b, a)
        for level in range(depth + 1)
        for a, b in pairwise(c[: level + 1])
    )
    heads = (depth + 1) * (2 * width + tasks * (width + 1))
    scorer = (2 + 1) + (2 + 27)
    return k**3 * same + sampling + norms + inward + outward + heads + scorer


def test_network_of_the_paper_has_the_expected_size_and_165_parameters_per_task():
    with torch.device("meta"):
        net = PipoFan()
    total = sum(p.numel() for p in net.parameters())
    assert total == expected_size(12, 32, 4, 5)
    plain_without_output = 100_152_768 - 4_000
    enlarged = 125 * (32 * 64 + 64 * 128 + 128 * 256 + 256 * 512)
    chains = 3 * residual(32, 64) + 2 * residual(64, 128) + residual(128, 256)
    chains += 4 * residual(64, 32) + 3 * residual(128, 64) + 2 * residual(256, 128)
    chains += residual(512, 256)
    heads, scorer = 5 * (2 * 32 + 12 * 33), 32
    assert total == plain_without_output + enlarged + chains + heads + scorer
    assert {net.num_task_parameters(task) for task in net.task_names} == {165}


def test_any_width_and_depth_has_the_expected_size():
    for width, depth, k in ((2, 1, 3), (3, 2, 5), (2, 3, 1)):
        net = PipoFan(TASKS, kernel_size=k, width=width, depth=depth)
        size = expected_size(3, width, depth, k)
        assert sum(p.numel() for p in net.parameters()) == size
        assert net.num_task_parameters("red") == (depth + 1) * (width + 1)


class Explicit:
    """The network for one task as formulas over its named tensors."""

    def __init__(self, net, task):
        self.t = dict(net.named_parameters()) | dict(net.named_buffers())
        self.task, self.depth = task, net.depth

    def norm_relu(self, place, x):
        keys = ("running_mean", "running_var", "weight", "bias")
        return F.relu(F.batch_norm(x, *(self.t[f"{place}.norm.{k}"] for k in keys)))

    def cbr(self, place, x, conv=F.conv3d, **options):
        x = conv(x, self.t[f"{place}.conv.weight"], **options)
        return self.norm_relu(place, x)

    def pair(self, level, x):
        x = self.cbr(f"{level}.conv1", x, padding=1)
        return self.cbr(f"{level}.conv2", x, padding=1)

    def brc(self, place, x):
        kernel = self.t[f"{place}.conv.weight"]
        x = self.norm_relu(place, x)
        return F.conv3d(x, kernel, padding=kernel.shape[-1] // 2)

    def chain(self, place, x, length):
        for i in range(length):
            block = f"{place}.{i}"
            refined = self.brc(f"{block}.second", self.brc(f"{block}.first", x))
            x = refined + self.brc(f"{block}.shortcut", x)
        return x

    def head(self, index, features, shape):
        x = self.norm_relu(f"heads.{index}", features)
        start = f"heads.{index}.conv.head_{self.task}"
        x = F.conv3d(x, self.t[f"{start}.weight"], self.t[f"{start}.bias"])
        return F.interpolate(x, shape, mode="trilinear", align_corners=False)

    def predictions(self, signal):
        depth, scales, x = self.depth, {}, signal
        skip = {1: self.pair("unet.encoder1", signal)}
        below = self.cbr("unet.encoder1.down", skip[1], stride=2)
        for j in range(1, depth + 1):
            x = F.avg_pool3d(x, 2)
            a = self.chain(f"inward.{j - 1}", self.pair("unet.encoder1", x), j - 1)
            assert a.shape == below.shape  # equal depth means equal width
            below = torch.cat([below, a], 1)
            if j == depth:
                break
            skip[j + 1] = self.pair(f"unet.encoder{j + 1}", below)
            below = self.cbr(f"unet.encoder{j + 1}.down", skip[j + 1], stride=2)
        x = scales[depth + 1] = self.pair("unet.bottleneck", below)
        for j in range(depth, 0, -1):
            place = f"unet.decoder{j}"
            x = self.cbr(f"{place}.up", x, conv=F.conv_transpose3d, stride=2)
            x = scales[j] = self.pair(place, torch.cat([skip[j], x], 1))
        return [
            self.head(
                j - 1,
                self.chain(f"outward.{j - 1}", scales[j], j - 1),
                signal.shape[2:],
            )
            for j in range(1, depth + 2)
        ]

    def weights(self, predictions):
        """Softmax over the scales of mean plus maximum of the score map, by hand."""
        scores = []
        for prediction in predictions:
            score = self.brc("fusion.scorer.1", self.brc("fusion.scorer.0", prediction))
            scores.append(score.mean() + score.max())
        exponentials = torch.stack(scores).exp()
        return exponentials / exponentials.sum()

    def __call__(self, signal):
        predictions = self.predictions(signal)
        weights = self.weights(predictions)
        return sum(w * p for w, p in zip(weights, predictions, strict=True))


def test_it_is_the_network_written_out_sample_by_sample_with_its_gradients(
    net, make_signal
):
    signal, labels = make_signal(3, 1, 8, 16, 8), torch.tensor([2, 0, 1])
    weights = make_signal(3, 1, 8, 16, 8, seed=9)
    net(signal, labels)  # telling running statistics
    result = net.eval()(signal, labels)
    expected = torch.cat(
        [
            Explicit(net, TASKS[label])(signal[row : row + 1])
            for row, label in enumerate(labels)
        ]
    )
    torch.testing.assert_close(result, expected)
    parameters = list(net.parameters())
    ours = torch.autograd.grad((result * weights).sum(), parameters)
    theirs = torch.autograd.grad((expected * weights).sum(), parameters)
    for mine, reference in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, reference)


def test_fusion_weights_are_those_of_a_loop_and_sum_to_one(net, make_signal):
    signal = make_signal(3, 1, 8, 8, 8)
    net(signal, 0)
    net.eval()
    rows = [Explicit(net, "red").predictions(row[None]) for row in signal]
    batch = [torch.cat(scale) for scale in zip(*rows, strict=True)]
    weights = net.fusion.weights(batch)
    assert weights.shape == (4, 3)
    torch.testing.assert_close(weights.sum(0), torch.ones(3, dtype=torch.float64))
    for sample, predictions in enumerate(rows):
        expected = Explicit(net, "red").weights(predictions)
        torch.testing.assert_close(weights[:, sample], expected)
    assert weights.std(1).min() > 1e-6  # each sample has its own


def test_fusion_scores_several_channels_with_one_map(make_signal):
    torch.manual_seed(0)
    fusion = AdaptiveFusion(2, "ZYX").double()
    predictions = [make_signal(3, 2, 4, 4, 4, seed=s) for s in range(5)]
    weights = fusion.weights(predictions)
    torch.testing.assert_close(weights.sum(0), torch.ones(3, dtype=torch.float64))
    expected = torch.stack(
        [sum(weights[k, b] * predictions[k][b] for k in range(5)) for b in range(3)]
    )
    torch.testing.assert_close(fusion(predictions), expected)


def test_residual_chains_meet_the_encoder_and_return_to_the_stem(make_signal):
    net = PipoFan(TASKS, width=2, depth=4, kernel_size=1)
    assert [len(chain) for chain in net.inward] == [0, 1, 2, 3]
    assert [len(chain) for chain in net.outward] == [0, 1, 2, 3, 4]
    stem = torch.randn(2, 2, 4, 4, 4)
    assert [chain(stem).shape[1] for chain in net.inward] == [2, 4, 8, 16]
    for level, chain in enumerate(net.outward):
        assert chain(torch.randn(2, 2 << level, 4, 4, 4)).shape[1] == 2


def test_side_predictions_are_those_of_the_scales_in_training_mode(net, make_signal):
    signal, labels = make_signal(2, 1, 8, 8, 8), torch.tensor([1, 0])
    result = net(signal, labels)
    assert net.side_weight == 1.0
    assert [side.shape for side in net.side_predictions] == [signal.shape] * 4
    weights = net.fusion.train(False).weights(net.side_predictions)
    assert weights.shape == (4, 2)
    spread = torch.stack(net.side_predictions)
    assert (result <= spread.amax(0) + 1e-12).all()  # a convex combination
    assert (result >= spread.amin(0) - 1e-12).all()
    net.eval()(signal, labels)
    assert net.side_predictions == ()


def test_their_loss_alone_trains_every_head_of_the_task(net, make_signal):
    target = make_signal(2, 1, 8, 8, 8, seed=2)
    net(make_signal(2, 1, 8, 8, 8), 1)
    losses = [F.mse_loss(side, target) for side in net.side_predictions]
    torch.stack(losses).mean().backward()
    for name, parameter in net.heads.named_parameters():
        if "head_red" in name or "head_blue" in name:
            assert parameter.grad is None
        else:
            assert parameter.grad.any(), name
    assert all(p.grad is None for p in net.fusion.parameters())


def test_the_stem_keeps_one_set_of_statistics_over_all_scales(net, make_signal):
    signal = make_signal(2, 1, 8, 8, 8)
    norm = net.unet.encoder1.conv1.norm
    net(signal, 0)
    pyramid = [signal]
    for _ in range(3):
        pyramid.append(F.avg_pool3d(pyramid[-1], 2))
    kernel = net.unet.encoder1.conv1.conv.weight
    voxels = [
        F.conv3d(x, kernel, padding=1).transpose(0, 1).flatten(1) for x in pyramid
    ]
    torch.testing.assert_close(norm.running_mean, torch.cat(voxels, 1).mean(1))
    torch.testing.assert_close(norm.running_var, torch.cat(voxels, 1).var(1))
    net(signal, 0)
    assert norm.num_batches_tracked == 2


def test_without_deep_supervision_nothing_is_kept(make_signal):
    net = PipoFan(TASKS, width=2, depth=1, kernel_size=1, deep_supervision=0.0).double()
    net(make_signal(2, 1, 4, 4, 4), 0)
    assert net.side_weight == 0.0
    assert net.side_predictions == ()
    with pytest.raises(UserError, match="deep_supervision -1"):
        PipoFan(TASKS, deep_supervision=-1, width=2, depth=1)
