"""Peers compute what our network computes, in another order."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.peers import Branches, PeerNet, SampleBySample, run_unet
from continual_repmode.models import RepModeUNet, UNet3d

TASKS = ("red", "green", "blue")
LABELS = torch.tensor([2, 0, 2, 1])
FORMATS = (torch.contiguous_format, torch.channels_last_3d)
PEERS = [
    pytest.param(SampleBySample, id="sample by sample"),
    pytest.param(Branches, id="branches"),
]


@pytest.fixture
def net():
    torch.manual_seed(0)
    return RepModeUNet(TASKS, width=2, depth=2).double()


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    shape = (len(LABELS), 1, 4, 8, 12)
    signal, target = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
    return signal, target


def output_and_gradients(
    net: nn.Module, batch: tuple[Tensor, Tensor]
) -> tuple[Tensor, list[Tensor]]:
    signal, target = batch
    output = net(signal, LABELS)
    F.mse_loss(output, target).backward()
    gradients = [p.grad for p in net.parameters() if p.grad is not None]
    return output.detach(), gradients


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("convolution", PEERS)
def test_output_and_all_gradients_of_a_mixed_batch_equal_ours(
    net, batch, convolution, memory_format
):
    peer = PeerNet(net, convolution, memory_format)
    ours, our_gradients = output_and_gradients(net, batch)
    theirs, their_gradients = output_and_gradients(peer, batch)
    torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-12)
    assert len(their_gradients) == len(our_gradients) == len(list(net.parameters()))
    for own, other in zip(our_gradients, their_gradients, strict=True):
        torch.testing.assert_close(other, own, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("convolution", PEERS)
def test_evaluation_of_one_task_equals_ours(net, batch, convolution):
    net.train()(batch[0], LABELS)  # statistics other than 0 and 1
    net.eval()
    peer = PeerNet(net, convolution).eval()
    with torch.no_grad():
        torch.testing.assert_close(
            peer(batch[0], 1), net(batch[0], 1), rtol=0, atol=1e-12
        )


def test_an_extended_task_has_the_experts_of_its_own(net, batch):
    label = net.add_task("new")
    peer = PeerNet(net, SampleBySample)
    labels = torch.tensor([label, 0, label, 1])
    torch.testing.assert_close(
        peer(batch[0], labels), net(batch[0], labels), rtol=0, atol=1e-12
    )


def test_sample_by_sample_keeps_features_and_kernels_contiguous(net, batch):
    peer = PeerNet(net, SampleBySample)
    assert all(parameter.is_contiguous() for parameter in peer.parameters())
    seen = []
    for block in peer.net.blocks().values():
        block.register_forward_hook(lambda *arguments: seen.append(arguments[-1]))
    peer(batch[0], LABELS)
    assert len(seen) == len(peer.net.blocks())
    assert all(features.is_contiguous() for features in seen)


def test_sample_by_sample_merges_a_kernel_for_every_sample(net, batch, monkeypatch):
    kernels = []
    convolve = F.conv3d
    monkeypatch.setattr(
        F, "conv3d", lambda x, w, **rest: kernels.append(w) or convolve(x, w, **rest)
    )
    block = PeerNet(net, SampleBySample).net.blocks()["encoder1.conv2"]
    groups = batch_groups(net)
    block.conv(torch.randn(4, 2, 4, 4, 4, dtype=torch.float64), groups)
    assert len({kernel.data_ptr() for kernel in kernels}) == len(LABELS)


def batch_groups(net: RepModeUNet):
    from continual_repmode.models import group_by_task

    return group_by_task(LABELS, len(LABELS), net.task_names)


@pytest.mark.parametrize("memory_format", FORMATS)
def test_a_plain_network_predicts_the_same_in_both_formats(batch, memory_format):
    torch.manual_seed(0)
    unet = UNet3d(width=2, depth=2).double().eval()
    torch.testing.assert_close(
        run_unet(unet, batch[0], memory_format), unet(batch[0]), rtol=0, atol=1e-12
    )
