import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from continual_repmode.training.strategies.agem import project

VALUES = st.one_of(st.none(), st.integers(-9, 9).map(float))
PAIRS = st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=6)


def tensors(values):
    return [
        None if v is None else torch.tensor([v], dtype=torch.float64) for v in values
    ]


def flat(gradients):
    return torch.cat(
        [torch.zeros(1, dtype=torch.float64) if g is None else g for g in gradients]
    )


@settings(max_examples=200, deadline=None)
@given(PAIRS)
def test_the_result_is_the_nearest_gradient_that_does_not_raise_the_loss(pairs):
    current = tensors([g for g, _ in pairs])
    reference = tensors([r for _, r in pairs])
    found = flat(project(current, reference))
    g, r = flat(current), flat(reference)
    dot = torch.dot(g, r)
    expected = g if dot >= 0 else g - dot / torch.dot(r, r) * r
    torch.testing.assert_close(found, expected)
    assert torch.dot(found, r) >= -1e-9


def test_a_parameter_that_neither_batch_uses_stays_without_a_gradient():
    one = torch.ones(2)
    assert project([one, None], [-one, None])[1] is None
