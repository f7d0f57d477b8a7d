from continual_repmode.training.avalanche_api import SupervisedPlugin
from continual_repmode.training.strategies.cumulative import CumulativePlugin


class Seen(SupervisedPlugin):
    def __init__(self):
        super().__init__()
        self.images, self.tasks = set(), set()

    def before_forward(self, strategy, **_):
        self.images |= set(strategy.batch_images())
        self.tasks |= {
            (image.split("-")[0], label)
            for image, label in zip(
                strategy.batch_images(), strategy.mb_task_id.tolist(), strict=True
            )
        }


def test_an_experience_has_the_images_of_all_so_far_under_their_own_labels(
    fine_tuning, benchmark
):
    strategy = fine_tuning(CumulativePlugin(), Seen())
    for experience in benchmark.train_stream:
        strategy.plugins[-4] = seen = Seen()
        strategy.train(experience)
    assert len(seen.images) == 16
    assert seen.tasks == {
        ("dna", 0),
        ("nuclear_envelope", 1),
        ("nucleolus", 2),
        ("cell_membrane", 3),
    }


def test_the_weights_to_keep_are_chosen_by_all_tasks_so_far(fine_tuning, benchmark):
    strategy = fine_tuning(CumulativePlugin())
    for experience in benchmark.train_stream[:2]:
        strategy.train(experience)
    labels = [
        int(strategy.validation_volumes[index][2])
        for index in range(len(strategy.validation_volumes))
    ]
    assert sorted(labels) == [0, 1, 2]
