import pytest
import torch

from continual_repmode.models import fingerprint


def test_it_repeats_and_leaves_modes_and_random_numbers_alone(make_net):
    net = make_net()
    net.train()
    net.unet.bottleneck.eval()
    modes = [module.training for module in net.modules()]
    buffers = {name: b.clone() for name, b in net.named_buffers()}
    state = torch.get_rng_state()
    first = fingerprint(net, "red")
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in net.modules()] == modes
    torch.rand(1)
    assert fingerprint(net.eval(), 0) == first
    for name, buffer in net.named_buffers():
        assert torch.equal(buffer, buffers[name])
    assert len(first.output_sha256) == 64
    assert len(first.state_sha256.removeprefix("parts:")) == 64


def test_every_tensor_of_the_task_counts(make_net):
    net = make_net(depth=1, experts=("conv3", "avg3_conv1"))
    reference = fingerprint(net, "green")
    tensors = dict(net.named_parameters()) | {
        n: b for n, b in net.named_buffers() if b.is_floating_point()
    }
    for name, tensor in tensors.items():
        saved = tensor.data.clone()
        tensor.data[(-1,) * tensor.dim()] += 1e-3
        changed = fingerprint(net, "green")
        tensor.data.copy_(saved)
        if "linear.weight" in name:  # the last column is that of another task
            assert changed == reference
        else:
            assert changed.state_sha256 != reference.state_sha256, name
    assert fingerprint(net, "green") == reference


def test_tasks_and_probes_differ(make_net):
    net = make_net()
    red, green = fingerprint(net, "red"), fingerprint(net, "green")
    assert red.state_sha256 != green.state_sha256
    assert red.output_sha256 != green.output_sha256
    other = fingerprint(net, "red", probe_shape=(4, 4, 4))
    assert other.state_sha256 == red.state_sha256
    assert other.output_sha256 != red.output_sha256


def test_an_extension_does_not_touch_the_fingerprint_of_old_tasks(make_net):
    net = make_net(axes="YX")
    before = [fingerprint(net, task) for task in net.task_names]
    net.add_task("gold", private_bn=True)
    assert [fingerprint(net, task) for task in net.task_names[:3]] == before


def test_modes_are_restored_after_an_error(make_net):
    net = make_net().train()
    with pytest.raises(ValueError, match="signal"):
        fingerprint(net, "red", probe_shape=(0, 4, 4))
    assert all(module.training for module in net.modules())


def test_no_merged_kernels_stay_behind(make_net):
    net = make_net()
    fingerprint(net, "red")
    assert not any(len(block.conv._cache) for block in net.blocks().values())
    with torch.no_grad():
        net(torch.zeros(1, 1, 4, 4, 4, dtype=torch.float64), 0)
    assert all(len(block.conv._cache) for block in net.blocks().values())
