import pytest

from continual_repmode.errors import UserError
from continual_repmode.scenario import Scenario, load_scenario, scenario_names


def test_the_default_stream_is_the_papers_table_3():
    scenario = load_scenario("incremental")
    assert len(scenario.base_tasks) == 10
    assert scenario.stream[1:] == [["nucleolus"], ["cell_membrane"]]
    assert scenario.task_names == (*scenario.base_tasks, "nucleolus", "cell_membrane")


def test_the_five_scenarios_are_found():
    found = ["base_tasks", "incremental", "joint", "leave_one_out", "one_by_one"]
    found += ["two_kinds"]
    assert scenario_names() == found
    assert load_scenario("base_tasks").stream == load_scenario("incremental").stream[:1]
    assert len(load_scenario("joint").stream) == 1
    assert len(load_scenario("one_by_one").stream) == 12
    assert len(load_scenario("two_kinds").task_names) == 24


def test_new_task_leaves_its_experience_and_arrives_last():
    scenario = Scenario(name="x", experiences=[["a", "b"], ["c"]], new_task="a")
    assert scenario.stream == [["b"], ["c"], ["a"]]
    assert load_scenario("leave_one_out").stream[-1] == ["nucleolus"]


def test_new_task_alone_in_its_experience_leaves_no_empty_one():
    scenario = Scenario(name="x", experiences=[["a"], ["b"]], new_task="a")
    assert scenario.stream == [["b"], ["a"]]


def test_a_users_file_is_read_and_named_after_itself(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("experiences: [[lysosome, dna], [mitochondria]]\n")
    scenario = load_scenario(file)
    assert scenario.name == "mine"
    assert scenario.base_tasks == ("lysosome", "dna")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("experiences: [[dna], [dna]]", "'dna' is listed twice"),
        ("experiences: [[dna], []]", "non-empty"),
        ("experiences: []", "non-empty"),
        ("experiences: [dna]", "list of lists"),
        ("experiences: [[1]]", "list of lists"),
        ("experience: [[dna]]", "unknown field 'experience'"),
        ("experiences: [[d n a]]", "task name 'd n a'"),
        ("experiences: [[dna]]\nnew_task: golgi", "new_task='golgi' is none"),
        ("experiences: [[dna]]\nname: 3", "'name' must be text"),
        ("- dna", "expected 'experiences:'"),
        ("experiences: [[dna]", "not valid YAML"),
    ],
)
def test_a_bad_file_is_told_in_one_line(tmp_path, content, message):
    file = tmp_path / "bad.yaml"
    file.write_text(content)
    with pytest.raises(UserError) as caught:
        load_scenario(file)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(UserError, match="incremental, joint, leave_one_out"):
        load_scenario("incremntal")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.yaml: No such file"):
        load_scenario(tmp_path / "nowhere.yaml")
