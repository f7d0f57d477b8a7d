import dataclasses
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from continual_repmode.errors import UserError
from continual_repmode.manifests.checks.checked_pair import CheckedPair, Finding
from continual_repmode.manifests.checks.facts import ChannelFacts, PairFacts
from continual_repmode.manifests.checks.findings import finding_from_error, judge, worst

PATCH = (16, 32, 32)
LIGHT = ChannelFacts(
    shape=(30, 60, 60),
    dtype="uint16",
    digest="light",
    minimum=8000.0,
    maximum=16000.0,
    mean=12000.0,
    std=900.0,
    num_nonfinite=0,
    saturated=0.0,
    at_minimum=1e-5,
    num_levels=6000,
    sharpness=0.5,
    focus=0.5,
)
TARGET = dataclasses.replace(
    LIGHT, digest="target", minimum=100.0, maximum=900.0, mean=200.0, std=60.0
)


def a_pair(
    number: int,
    split: str = "train",
    light: dict[str, Any] | None = None,
    target: dict[str, Any] | None = None,
    shift: tuple[float, float] | None = (0.2, -0.4),
    **changes: Any,
) -> CheckedPair:
    """A faultless row, but for the changes; its voxels are its own."""
    facts = PairFacts(
        dataclasses.replace(LIGHT, **{"digest": f"l{number}", **(light or {})}),
        dataclasses.replace(TARGET, **{"digest": f"t{number}", **(target or {})}),
        shift,
        4.0 if shift else 1.2,
    )
    pair = CheckedPair(
        name=f"dna_{number}",
        task="dna",
        split=split,
        where=f"volumes.csv: row {number}",
        signal_path=f"data/light{number}.tif",
        target_path=f"data/dna{number}.tif",
        signal_channel="6 'Bright'",
        target_channel="5 'Hoechst'",
        format="Tiff",
        shape=(30, 60, 60),
        grid_shape=(30, 60, 60),
        voxel_size_um=(0.29, 0.29, 0.29),
        box=((0, 30), (0, 60), (0, 60)),
        facts=facts,
    )
    return dataclasses.replace(pair, **changes)


def sound(task: str = "dna", first: int = 2) -> list[CheckedPair]:
    """Ten rows in which there is nothing to find."""
    splits = ["train"] * 6 + ["valid"] + ["test"] * 3
    return [a_pair(first + i, split, task=task) for i, split in enumerate(splits)]


def judged(pairs: list[CheckedPair], **settings: Any) -> list[Finding]:
    return judge(pairs, **{"patch_size": PATCH, "pad_small": False, **settings})


def with_row_3(**changes: Any) -> list[CheckedPair]:
    """The sound rows, with these changes to the second one."""
    pairs = sound()
    pairs[1] = a_pair(3, **changes)
    return pairs


def only(findings: list[Finding]) -> Finding:
    assert len(findings) == 1, [finding.line() for finding in findings]
    return findings[0]


def test_there_is_nothing_to_find_in_sound_rows_and_their_headers():
    pairs = [dataclasses.replace(pair, facts=None) for pair in sound()]

    assert judged(sound()) == judged(pairs) == []
    assert {f.code for f in judged(pairs, patch_size=(64, 64, 64))} == {"too-small"}


def test_every_line_names_row_file_channel_fault_and_remedy():
    constant = {"minimum": 7.0, "maximum": 7.0, "std": 0.0, "num_levels": 1}

    assert only(judged(with_row_3(target=constant))).line() == (
        "volumes.csv: row 3, dna3.tif, channel 5 'Hoechst' (target): every voxel is 7; "
        "choose another channel or leave it out"
    )


def test_bad_voxels_of_either_channel_are_found():
    for voxels, severity, code, message in (
        ({"minimum": 0.0, "maximum": 0.0}, "error", "constant", "every voxel is 0"),
        ({"num_nonfinite": 4}, "error", "non-finite", "4 voxels are NaN"),
        ({"num_levels": 35}, "warning", "nearly-constant", "only 35 gray levels"),
        ({"saturated": 0.03}, "warning", "saturated", "3.0% of the voxels are clipped"),
        (
            {"padding": 0.4, "padding_of": "NaN"},
            *("warning", "padding", "40.0% of the voxels are padding of NaN"),
        ),
    ):
        for role, file in (("light", "light3.tif"), ("target", "dna3.tif")):
            found = only(judged(with_row_3(**{role: voxels})))
            assert (found.severity, found.code) == (severity, code)
            assert found.where == f"volumes.csv: row 3, {file}"
            assert role in found.channel
            assert message in found.message


def test_what_is_odd_about_one_row_is_one_finding():
    zeros, same = {"minimum": 0.0, "maximum": 0.0}, {"digest": "x"}
    padded = {"padding": 0.4, "padding_of": "0"}
    twin = {"digest": "l2"}, {"digest": "t2"}
    for changes, severity, code, told in (
        ({"light": padded, "target": padded}, "warning", "padding", "(light)"),
        ({"light": {**zeros, "num_nonfinite": 108000}}, "error", "non-finite", "NaN"),
        ({"light": same, "target": same}, "error", "target-is-light", ""),
        ({"target": twin[1]}, "warning", "duplicate", "row 2, dna2.tif"),
        ({"light": twin[0], "target": twin[1]}, "warning", "duplicate", "row 2"),
        ({"target": {"dtype": "float32", "mean": 0.4}}, "note", "mixed-types", ""),
        ({"shift": None}, "warning", "no-common-structure", "9 of 10 pairs match"),
    ):
        found = only(judged(with_row_3(**changes)))
        assert (found.severity, found.code) == (severity, code)
        assert told in found.line()
    golgi = [a_pair(n, pair.split, shift=None) for n, pair in enumerate(sound())]
    assert judged(golgi) == []  # no pair matches


def test_masks_may_have_few_levels_and_many_voxels_at_the_maximum():
    for levels, dark, bright in ((2, 0.8, 0.2), (250, 0.85, 0.1)):
        mask = {"num_levels": levels, "at_minimum": dark, "saturated": bright}
        assert judged(with_row_3(target=mask)) == []


def test_a_shift_is_told_in_pixels_micrometres_and_direction():
    found = only(judged(with_row_3(shift=(-8.1, 4.0))))

    assert (found.severity, found.code) == ("warning", "unregistered")
    assert "8 px (2.3 µm) up and 4 px (1.2 µm) right" in found.message
    pair = with_row_3()[1]
    assert pair.signal_path != pair.target_path
    assert found.where.endswith(pair.target_path.rpartition("/")[2])


def test_a_doubt_stops_a_run_until_it_is_confirmed():
    rows = with_row_3(doubts=("its 2 planes are no stack", "and more"))
    found = only(judged(rows))
    assert (found.severity, found.code) == ("error", "implausible")
    assert "no stack, and and more; mend it or" in found.line()
    assert "continue with --yes (run: data.yes=true)" in found.line()
    found = only(judged(rows, yes=True))
    assert (found.severity, found.remedy) == ("note", "")


def test_a_shift_counts_from_three_pixels_as_large_planes_are_measured():
    for shift, width, told in (
        ((2.0, 1.0), 60, False),
        ((3.0, 1.0), 60, True),
        ((4.0, 4.0), 924, False),
        ((7.0, 0.0), 924, True),
    ):
        found = judged(with_row_3(shift=shift, shape=(30, 60, width)))
        assert [f.code for f in found] == ["unregistered"] * told, shift


def test_an_image_under_two_names_in_two_splits_is_an_error():
    pairs = sound()
    pairs[-1] = a_pair(11, "test", light={"digest": "l2"})

    found = only(judged(pairs))

    assert (found.severity, found.code) == ("error", "in-two-splits")
    assert found.where == "volumes.csv: row 11, light11.tif"
    assert "in split test here" in found.message
    assert "in split train in row 2, light2.tif" in found.message


def test_light_may_serve_two_tasks_of_a_split_but_not_one_task_twice():
    again = a_pair(30, light={"digest": "l2"})

    assert only(judged([*sound(), again])).code == "duplicate"
    tubules = sound("microtubule", first=31)
    tubules[0] = dataclasses.replace(again, task="microtubule")
    assert judged([*sound(), *tubules]) == []


def test_constant_channels_do_not_count_as_copies_of_each_other():
    empty = {"minimum": 0.0, "maximum": 0.0, "digest": "zeros"}
    pairs = [*sound()[:-1], a_pair(11, "test", target=empty)]
    pairs[0] = a_pair(2, target=empty)

    assert {finding.code for finding in judged(pairs)} == {"constant"}


def test_splits_without_or_of_few_images_are_told():
    for kept, missing in ((("train", "valid"), "test"), (("test", "train"), "valid")):
        found = only(judged([pair for pair in sound() if pair.split in kept]))
        assert (found.severity, found.where) == ("error", "task dna")
        assert found.message == f"images: no {missing}"
    found = only(judged(sound()[:-1]))
    assert (found.severity, found.code) == ("warning", "few-images")
    assert found.message == "images: 2 test"
    assert "at least 3 test" in found.remedy


def test_a_task_of_the_scenario_without_rows_is_an_error():
    tasks = ["dna", "golgi_apparatus"]
    found = only(judged(sound(), tasks=tasks, listed=["dna", "lysosome"]))

    assert (found.severity, found.code) == ("error", "no-images")
    assert found.where == "task golgi_apparatus"
    assert found.message == "no usable row; the manifest has dna, lysosome"


def test_a_volume_that_no_patch_fits_in_is_an_error_of_training():
    small = {"grid_shape": (12, 60, 60)}
    found = only(judged(with_row_3(**small)))

    assert (found.severity, found.code) == ("error", "too-small")
    assert "12 x 60 x 60" in found.message
    assert "16 x 32 x 32" in found.message
    assert "data.patch_size" in found.remedy
    assert "data.pad_small=true" in found.remedy
    assert judged(with_row_3(**small), pad_small=True) == []
    assert judged([*sound(), a_pair(30, "test", **small)]) == []


def test_an_image_far_from_the_others_of_its_task_is_an_outlier():
    for role, measure, value, code in (
        ("light", "mean", 1000.0, "intensity-outlier"),
        ("light", "std", 6.0, "contrast-outlier"),
        ("light", "sharpness", 0.05, "sharpness-outlier"),
        ("light", "focus", 0.95, "focus-outlier"),
        ("target", "mean", 2400.0, "intensity-outlier"),
        ("target", "std", 6.0, "contrast-outlier"),
        ("target", "sharpness", 0.05, "sharpness-outlier"),
        ("target", "focus", 0.95, "focus-outlier"),
    ):
        found = only(judged(with_row_3(**{role: {measure: value}})))
        assert (found.severity, found.code) == ("warning", code)
        assert role in found.channel
        assert "usually" in found.message


def test_few_images_have_no_outliers():
    pairs = with_row_3(target={"mean": 2400.0})[:4]

    assert "intensity-outlier" not in {finding.code for finding in judged(pairs)}


@given(st.integers(0, 2**32 - 1))
def test_the_usual_spread_of_a_stain_makes_no_outliers(seed):
    rng = np.random.default_rng(seed)
    pairs = [
        a_pair(
            number,
            split,
            target={
                "mean": 200 * rng.uniform(0.7, 1.4),
                "sharpness": 0.5 * rng.uniform(0.8, 1.2),
                "focus": rng.uniform(0.35, 0.65),
            },
        )
        for number, split in enumerate(["train"] * 12 + ["valid"] + ["test"] * 7)
    ]

    assert judged(pairs) == []


def test_voxels_of_other_size_are_noted_and_far_off_ones_warned_of():
    severities = {0.292: [], 0.25: ["note"], 0.108: ["warning"], 290.0: ["warning"]}
    for side_um, expected in severities.items():
        found = judged(with_row_3(voxel_size_um=(0.29, side_um, side_um)))
        assert [finding.severity for finding in found] == expected, side_um


def test_errors_come_first_and_decide_the_exit_status():
    pairs = with_row_3(voxel_size_um=(0.29, 0.25, 0.25), light={"saturated": 0.1})
    pairs[2] = a_pair(4, target={"num_nonfinite": 1})

    findings = judged(pairs)

    assert [finding.severity for finding in findings] == ["error", "warning", "note"]
    assert [worst(findings[start:]) for start in range(4)] == [2, 3, 0, 0]


def test_the_error_of_a_file_keeps_its_words_and_names_the_manifest_once():
    row = UserError("volumes.csv: row 4: light.czi: damaged; copy it again")
    other = UserError("column 'task' is missing; add it")

    assert finding_from_error("volumes.csv", row).line() == str(row)
    assert finding_from_error("volumes.csv", other).line() == f"volumes.csv: {other}"
    assert worst([finding_from_error("volumes.csv", row)]) == 2
