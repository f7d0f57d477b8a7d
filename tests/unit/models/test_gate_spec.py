import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from continual_repmode.errors import UserError
from continual_repmode.models.gate_spec import activate, make_gate_spec, mean_logits

SEEDS = st.integers(0, 10_000)
ACTIVATIONS = ("softmax", "sigmoid")


def random_logits(seed: int, *shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(*shape, generator=generator, dtype=torch.float64)


@given(seed=SEEDS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_logits_of_one_gate_activate_to_its_weights(activation, seed):
    weights = activate(random_logits(seed, 5, 3), activation)
    found = activate(mean_logits(weights[None], activation), activation)
    torch.testing.assert_close(found, weights)


@given(seed=SEEDS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_logits_of_several_gates_are_their_mean(activation, seed):
    logits = random_logits(seed, 4, 5, 3)
    found = mean_logits(activate(logits, activation), activation)
    expected = logits.mean(dim=0)
    if activation == "softmax":  # one number per channel is free
        expected = (logits - logits.logsumexp(dim=1, keepdim=True)).mean(dim=0)
        expected = expected - expected.exp().sum(dim=0).log()
    torch.testing.assert_close(found, expected)


@given(seed=SEEDS)
def test_only_a_softmax_lets_experts_compete(seed):
    logits = random_logits(seed, 5, 3)
    raised = logits + torch.tensor([1.0, 0, 0, 0, 0]).view(5, 1)
    before, after = activate(logits, "softmax"), activate(raised, "softmax")
    torch.testing.assert_close(after.sum(dim=0), torch.ones(3).double())
    assert (after[1:] < before[1:]).all()
    before, after = activate(logits, "sigmoid"), activate(raised, "sigmoid")
    assert (after[0] > before[0]).all()
    assert torch.equal(after[1:], before[1:])


def test_only_gaussian_vectors_draw_random_numbers():
    state = torch.get_rng_state()
    assert make_gate_spec(3, "one_hot", 6, "sigmoid").embedding is None
    assert torch.equal(torch.get_rng_state(), state)
    assert make_gate_spec(3, "gaussian", None, "softmax").embedding.shape == (3, 3)
    assert not torch.equal(torch.get_rng_state(), state)


def test_a_hidden_layer_has_one_unit_or_more():
    assert make_gate_spec(3, "one_hot", 1, "softmax").hidden == 1
    with pytest.raises(UserError, match="gate_hidden 0: use a positive number"):
        make_gate_spec(3, "one_hot", 0, "softmax")
