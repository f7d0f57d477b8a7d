import pytest
import torch

from continual_repmode.errors import UserError
from continual_repmode.scenario import Scenario, load_scenario, scenario_names
from continual_repmode.tasks import TASKS
from continual_repmode.training.context import context_of, task_names_of
from continual_repmode.training.streams import build_benchmark

STREAM = Scenario(
    name="tiny",
    experiences=[["dna", "nuclear_envelope"], ["nucleolus"], ["cell_membrane"]],
)


class CountingCollection:
    """Counts how often a volume is loaded."""

    voxel_size_um = (0.29, 0.29, 0.29)

    def __init__(self, inner):
        self.inner, self.tasks, self.loads = inner, inner.tasks, 0

    def pairs(self, task, split):
        return [CountingPair(self, pair) for pair in self.inner.pairs(task, split)]


class CountingPair:
    def __init__(self, collection, pair):
        self.collection, self.pair = collection, pair
        self.name, self.task = pair.name, pair.task

    def load(self):
        self.collection.loads += 1
        return self.pair.load()


def test_streams_follow_the_scenario_with_labels_in_order_of_arrival(benchmark):
    assert benchmark.base_tasks == ("dna", "nuclear_envelope")
    assert benchmark.task_names == (
        "dna",
        "nuclear_envelope",
        "nucleolus",
        "cell_membrane",
    )
    for stream in (
        benchmark.train_stream,
        benchmark.valid_stream,
        benchmark.test_stream,
    ):
        assert [sorted(exp.task_labels) for exp in stream] == [[0, 1], [2], [3]]
        assert [task_names_of(exp) for exp in stream] == [
            ("dna", "nuclear_envelope"),
            ("nucleolus",),
            ("cell_membrane",),
        ]


def test_samples_carry_patch_target_and_their_own_task_label(benchmark):
    dataset = benchmark.train_stream[0].dataset
    pairs = context_of(benchmark.train_stream[0]).pairs
    assert len(dataset) == len(pairs) == 8
    for index, pair in enumerate(pairs):
        signal, target, label = dataset[index]
        assert signal.shape == target.shape == (1, 4, 8, 8)
        assert signal.dtype == target.dtype == torch.float32
        assert benchmark.task_names[label] == pair.task


def test_test_samples_are_whole_volumes_in_the_order_of_the_pairs(benchmark):
    experience = benchmark.test_stream[0]
    for index, pair in enumerate(context_of(experience).pairs):
        signal, target, _ = experience.dataset[index]
        loaded = pair.load()
        assert torch.equal(signal[0], torch.from_numpy(loaded.signal))
        assert torch.equal(target[0], torch.from_numpy(loaded.target))


def test_building_a_benchmark_loads_no_volume(tiny_collection):
    counting = CountingCollection(tiny_collection)
    scenario = Scenario(name="two", experiences=[["dna"], ["nucleolus"]])
    benchmark = build_benchmark(scenario, data=counting, patch_size=(4, 8, 8))
    assert counting.loads == 0
    _ = benchmark.train_stream[0].dataset[0]
    assert counting.loads == 1


def test_patches_differ_between_epochs_and_repeat_under_a_seed(benchmark):
    dataset = benchmark.train_stream[0].dataset
    torch.manual_seed(3)
    first, second = dataset[0][0], dataset[0][0]
    torch.manual_seed(3)
    assert torch.equal(dataset[0][0], first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("name", scenario_names())
def test_every_scenario_of_the_package_covers_all_tasks_once(name):
    scenario = load_scenario(name)
    assert scenario.description
    both = [*TASKS, *(f"{task}-round" for task in TASKS)]
    all_tasks = both if name == "two_kinds" else TASKS
    if name != "base_tasks":
        assert sorted(scenario.task_names) == sorted(all_tasks)


def test_the_base_tasks_are_the_first_experience_of_the_incremental_stream():
    alone, whole = load_scenario("base_tasks"), load_scenario("incremental")
    assert alone.stream == whole.stream[:1]


def test_few_images_of_new_tasks_take_turns_over_an_epoch_of_the_same_length(
    tiny_collection,
):
    few = build_benchmark(STREAM, data=tiny_collection, patch_size=(4, 8, 8), num_new=3)
    base, *new = (context_of(experience).pairs for experience in few.train_stream)
    assert len({pair.name for pair in base}) == len(base) == 8
    for pairs, task in zip(new, ("nucleolus", "cell_membrane"), strict=True):
        first = [pair.name for pair in tiny_collection.pairs(task, "train")[:3]]
        assert [pair.name for pair in pairs] == [*first, first[0]]
    for experience, pairs in zip(few.train_stream[1:], new, strict=True):
        assert len(experience.dataset) == len(pairs)
    for split in ("valid", "test"):
        names = [p.name for exp in few.pairs[split] for p in exp]
        assert len(set(names)) == len(names) == {"valid": 4, "test": 8}[split]


def test_more_images_than_a_new_task_has_are_refused(tiny_collection):
    with pytest.raises(UserError, match=r"num_new=5: task 'nucleolus' has only 4"):
        build_benchmark(STREAM, data=tiny_collection, num_new=5)


def test_a_task_without_data_is_refused_by_name(tiny_collection):
    with pytest.raises(UserError, match="asks for desmosome"):
        build_benchmark(
            Scenario(name="x", experiences=[["dna", "desmosome"]]), data=tiny_collection
        )


def test_a_foreign_experience_is_refused():
    with pytest.raises(UserError, match="build_benchmark"):
        context_of(object())


def test_tasks_learned_elsewhere_have_the_first_labels_and_no_data(tiny_collection):
    new = Scenario(name="new", experiences=[["nucleolus"]])
    benchmark = build_benchmark(
        new,
        data=tiny_collection,
        patch_size=(4, 8, 8),
        known_tasks=("golgi_apparatus", "dna"),
        num_new=2,
    )
    assert benchmark.base_tasks == ("golgi_apparatus", "dna")
    assert benchmark.task_names == ("golgi_apparatus", "dna", "nucleolus")
    (experience,) = benchmark.train_stream
    assert experience.task_labels == [2]
    assert task_names_of(experience) == ("nucleolus",)
    assert experience.dataset[0][2] == 2
    pairs = context_of(experience).pairs
    assert [pair.name for pair in pairs] == [
        *("nucleolus-train-0", "nucleolus-train-1"),
        *("nucleolus-train-0", "nucleolus-train-1"),
    ]
    assert [sorted(exp.task_labels) for exp in benchmark.test_stream] == [[2]]


def test_a_task_that_is_known_cannot_arrive(tiny_collection):
    new = Scenario(name="new", experiences=[["nucleolus"]])
    with pytest.raises(UserError, match="knows nucleolus already"):
        build_benchmark(new, data=tiny_collection, known_tasks=("dna", "nucleolus"))
