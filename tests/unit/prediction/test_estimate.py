import pytest
import torch

from continual_repmode.errors import UserError
from continual_repmode.measuring import resident_bytes
from continual_repmode.prediction.estimate import Estimator, format_seconds
from continual_repmode.prediction.options import PredictOptions
from continual_repmode.prediction.setup import Setup


def estimator(model, memory: int, window=(4, 8, 8)) -> Estimator:
    options = PredictOptions(memory=memory, window=window, overlap=0.5, device="cpu")
    return Estimator(Setup.of(model, options))


def test_windows_are_those_of_the_model_grid_for_each_task(model):
    some = estimator(model, resident_bytes() + 10**9)

    one = some.estimate((8, 24, 24), (8, 16, 16), (8, 24, 24), 1)
    two = some.estimate((8, 24, 24), (8, 16, 16), (8, 24, 24), 2)

    assert one.num_windows == 3 * 3 * 3
    assert one.window == (4, 8, 8)
    assert one.seconds < two.seconds <= 2 * one.seconds
    assert resident_bytes() < one.memory_bytes < resident_bytes() + 10**8


def test_uncertainty_is_counted_with_all_its_answers(model):
    shape = (8, 24, 24)
    found = []
    for uncertainty in (False, True):
        options = PredictOptions(
            uncertainty=uncertainty, window=(4, 8, 8), device="cpu", tasks="dna"
        )
        setup = Setup.of(model, options)
        estimator = Estimator(setup)
        found.append(estimator.estimate(shape, shape, shape, 1, deviations=uncertainty))
        answers = setup.predictor("dna")(torch.zeros(1, 1, 4, 8, 8))
        assert answers.shape[1] == len(setup.channel_names) == 1 + uncertainty
    one, eight = found
    assert (one.answers, eight.answers) == (1, 8)
    assert eight.memory_bytes > 0 < eight.seconds
    assert "75 windows of 4 x 8 x 8, each predicted 8 times, " in str(eight)


def test_windows_are_cut_down_to_flat_images(model):
    some = estimator(model, resident_bytes() + 10**9)

    assert some.estimate((1, 5, 9), (1, 5, 9), (1, 5, 9), 1).window == (1, 5, 8)


def test_windows_that_need_more_memory_are_refused(model):
    some = estimator(model, resident_bytes() + 150_000_000, window=(64, 512, 512))

    with pytest.raises(UserError, match=r"smaller --window, or increase --memory"):
        some.estimate((64, 350, 350), (64, 350, 350), (64, 350, 350), 1)


def test_too_little_memory_is_told_before_work_starts(model):
    shape, written = (400, 1500, 1500), (400, 16000, 16000)

    with pytest.raises(UserError, match="memory"):
        estimator(model, resident_bytes() + 85_000_000).estimate(
            written, shape, written, 1
        )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (75, "75 s"), (600, "10 min"), (4000, "1 h 7 min")],
)
def test_times_are_told_as_people_do(seconds, text):
    assert format_seconds(seconds) == text
