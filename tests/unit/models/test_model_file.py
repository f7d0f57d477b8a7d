import pytest
import torch

from continual_repmode.checkpoints import write_tensors
from continual_repmode.errors import UserError
from continual_repmode.models import load_model, read_model_header, save_model


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.safetensors"


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_round_trip_is_exact_in_evaluation_mode_and_draws_no_random_numbers(
    make_net, path, dtype
):
    net = make_net().to(dtype).train()
    save_model(net, path)
    state = torch.get_rng_state()
    loaded = load_model(path)
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(module.training for module in loaded.modules())
    assert loaded.state_dict().keys() == net.state_dict().keys()
    for name, tensor in net.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)
        assert loaded.state_dict()[name].dtype == tensor.dtype
    assert all(p.requires_grad for p in loaded.parameters())


def test_frozen_and_extended_networks_come_back_frozen_alike(make_net, path):
    net = make_net()
    net.add_task("gold", private_bn=True)
    save_model(net, path)
    loaded = load_model(path)
    assert loaded.architecture() == net.architecture()
    for (name, mine), (other_name, theirs) in zip(
        net.named_parameters(), loaded.named_parameters(), strict=True
    ):
        assert name == other_name
        assert mine.requires_grad == theirs.requires_grad
        assert torch.equal(mine, theirs)
    loaded.train()
    modes = {n: m.training for n, m in loaded.named_modules() if n.endswith("norm")}
    assert not any(modes.values())


def test_a_loaded_network_can_be_saved_again_and_trained(make_net, make_signal, path):
    save_model(make_net(), path)
    net = load_model(path)
    save_model(net, path)
    again = load_model(path).train()
    again(make_signal(2, 1, 4, 4, 4), 0).sum().backward()
    torch.optim.SGD(again.parameters(), lr=0.1).step()
    assert again.architecture() == net.architecture()


def test_header_carries_metadata_without_the_tensors(make_net, path):
    net = make_net()
    save_model(net, path, metadata={"voxel_size_um": [0.29, 0.29, 0.29]})
    header = read_model_header(path)
    assert header["metadata"] == {"voxel_size_um": [0.29, 0.29, 0.29]}
    assert header["architecture"] == net.architecture()


@pytest.mark.parametrize("read", [load_model, read_model_header])
def test_files_that_hold_something_else_are_refused(path, read):
    write_tensors(path, {}, {"kind": "training"})
    with pytest.raises(UserError, match=r"net.safetensors: holds 'training'"):
        read(path)


def test_tensors_that_do_not_fit_are_refused_in_one_line(make_net, path):
    net = make_net()
    header = {"kind": "model", "architecture": net.architecture()}
    write_tensors(path, {"unet.x": torch.zeros(1)}, header)
    with pytest.raises(UserError, match=r"net.safetensors: .*do not fit") as error:
        load_model(path)
    assert "\n" not in str(error.value)
    write_tensors(path, {}, {"kind": "model"})
    with pytest.raises(UserError, match="architecture"):
        load_model(path)
