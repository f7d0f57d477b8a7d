import pytest
import torch

from continual_repmode.models.gate_spec import GateSpec
from continual_repmode.models.gating import TaskGate

BASE = ("conv3", "conv1", "avg3_conv1")


@pytest.fixture
def gate():
    torch.manual_seed(0)
    return TaskGate(("red", "green"), BASE, out_channels=4).double()


def by_hand(gate: TaskGate, label: int) -> torch.Tensor:
    """Softmax over experts of Linear(one-hot), element by element (Eq. 1, 2)."""
    one_hot = torch.zeros(2, dtype=torch.float64)
    one_hot[label] = 1
    flat = gate.linear(one_hot).tolist()
    result = torch.empty(3, 4, dtype=torch.float64)
    for channel in range(4):
        exponentials = torch.tensor([flat[e * 4 + channel] for e in range(3)]).exp()
        result[:, channel] = exponentials / exponentials.sum()
    return result


def test_weights_are_the_softmax_over_experts_of_the_paper(gate):
    for label, task in enumerate(("red", "green")):
        expected = by_hand(gate, label)
        torch.testing.assert_close(gate(task), expected, rtol=1e-6, atol=1e-7)


def test_only_the_column_of_the_task_gets_a_gradient(gate):
    (gate("green") * torch.arange(12.0).view(3, 4)).sum().backward()
    assert torch.equal(gate.linear.weight.grad[:, 0], torch.zeros(12).double())
    assert gate.linear.weight.grad[:, 1].abs().min() > 0


def test_storing_keeps_the_weights_to_the_bit_and_drops_the_parameters(gate):
    gate.add_task("blue", (*BASE, "extension_blue"), "mean")
    before = {task: gate(task).detach().clone() for task in gate.experts}
    gate.store()
    assert not list(gate.parameters())
    assert gate.linear is None
    assert sorted(gate.state_dict()) == ["weights_blue", "weights_green", "weights_red"]
    for task, weights in before.items():
        assert torch.equal(gate(task), weights)


def test_mean_init_averages_log_gates_and_gives_the_new_expert_minus_two(gate):
    red, green = gate("red").detach(), gate("green").detach()
    mean = (red.log() + green.log()) / 2
    expected = mean - mean.exp().sum(0).log()
    for stored in (False, True):
        if stored:
            gate.store()
        logits = gate.initial_logits((*BASE, "extension_blue"), "mean")
        torch.testing.assert_close(logits[:3], expected)
        torch.testing.assert_close(logits[:3].exp().sum(0), torch.ones(4).double())
        assert torch.equal(logits[3], torch.full((4,), -2.0).double())


def test_mean_init_counts_extended_tasks_by_their_base_experts(gate):
    gate.add_task("blue", (*BASE, "extension_blue"), "uniform")
    logs = [gate(task).detach()[:3].log() for task in ("red", "green", "blue")]
    mean = sum(logs) / 3
    logits = gate.initial_logits((*BASE, "extension_blue", "extension_gold"), "mean")
    torch.testing.assert_close(logits[:3], mean - mean.logsumexp(0))
    assert torch.equal(logits[3:], torch.full((2, 4), -2.0).double())


def test_uniform_init_gives_every_expert_the_same_weight(gate):
    gate.add_task("blue", (*BASE, "extension_blue"), "uniform")
    torch.testing.assert_close(gate("blue"), torch.full((4, 4), 0.25).double())


def test_init_from_a_task_without_a_new_expert_copies_its_weights(gate):
    gate.add_task("blue", BASE, "green")
    torch.testing.assert_close(gate("blue"), gate("green"))


def test_init_from_an_extended_task_takes_its_expert_where_both_use_it(gate):
    gate.add_task("blue", (*BASE, "extension_blue"), "mean")
    gate.add_task("gold", (*BASE, "extension_blue"), "blue")
    gate.add_task("pink", BASE, "blue")
    blue = gate("blue").detach()
    torch.testing.assert_close(gate("gold"), blue)
    torch.testing.assert_close(gate("pink"), blue[:3] / blue[:3].sum(0))


def test_init_stays_finite_at_both_ends(gate):
    sigmoid = TaskGate(("red",), BASE, 4, GateSpec(activation="sigmoid"))
    with torch.no_grad():
        gate.linear.weight[:4] = -1e4
        sigmoid.linear.weight[:4], sigmoid.linear.weight[4:] = -1e4, 1e4
    assert gate.initial_logits((*BASE, "extension_blue"), "mean").isfinite().all()
    assert sigmoid.initial_logits(BASE, "mean").isfinite().all()


def test_sigmoid_gates_open_independently():
    torch.manual_seed(0)
    gate = TaskGate(("red", "green"), BASE, 4, GateSpec(activation="sigmoid")).double()
    before = gate("red").detach()
    logits = gate.linear.weight[:, 0] + gate.linear.bias
    torch.testing.assert_close(before, 1 / (1 + (-logits.view(3, 4)).exp()))
    with torch.no_grad():
        gate.linear.weight[:4, 0] += 5  # the first expert of each channel
    after = gate("red")
    assert (after[0] > before[0]).all()
    assert torch.equal(after[1:], before[1:])


def test_a_sigmoid_starts_from_the_mean_of_the_logits_of_known_tasks():
    torch.manual_seed(0)
    gate = TaskGate(("red", "green"), BASE, 4, GateSpec(activation="sigmoid")).double()
    mean = (gate.logits("red") + gate.logits("green")).detach() / 2
    for stored in (False, True):
        if stored:
            gate.store()
        logits = gate.initial_logits((*BASE, "extension_blue"), "mean")
        torch.testing.assert_close(logits[:3], mean)
        assert torch.equal(logits[3], torch.full((4,), -2.0).double())


def test_two_layers_and_random_vectors_are_a_small_perceptron():
    torch.manual_seed(0)
    vectors = torch.randn(2, 2)
    gate = TaskGate(("red", "green"), BASE, 4, GateSpec(vectors, hidden=6)).double()
    assert gate.hidden.weight.shape == (6, 2)
    perceptron = torch.nn.Sequential(gate.hidden, torch.nn.ReLU(), gate.linear)
    for label, task in enumerate(("red", "green")):
        logits = perceptron(vectors[label].double()).view(3, 4)
        torch.testing.assert_close(gate(task), logits.softmax(dim=0))
    both = gate.table(["green", "red"], BASE)
    torch.testing.assert_close(both, torch.stack([gate("green"), gate("red")]))
    gate.store()
    assert sorted(gate.state_dict()) == ["weights_green", "weights_red"]
