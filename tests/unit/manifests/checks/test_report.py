import dataclasses
import json

import numpy as np
from scipy import ndimage

from continual_repmode.errors import UserError
from continual_repmode.manifests.checks.checked_pair import CheckedPair, Finding
from continual_repmode.manifests.checks.facts import from_json, measure_pair
from continual_repmode.manifests.checks.findings import finding_from_error
from continual_repmode.manifests.checks.report import WIDTH, format_report, to_json

HAPPY = """\
lab/volumes.csv

task             train  valid  test  format      voxels (z, y, x)
dna                  2      1     1  Czi         60..65 x 624 x 924
    light 6 'Bright', target 5 'H3342', voxels of 0.29 x 0.108 x 0.108 µm
golgi_apparatus      1      0     1  Czi / Tiff  65 x 624 x 924
    light 6 'Bright' / 3, target 5 'H3342', voxels of 0.29 x 0.0859..0.108 x 0.108 µm

Fit for a run: nothing found; 6 pairs (headers only) checked."""


def a_pair(number: int, split: str = "train") -> CheckedPair:
    return CheckedPair(
        name=f"dna_{number}",
        task="dna",
        split=split,
        where=f"lab/volumes.csv: row {number}",
        signal_path=f"/data/image{number}.czi",
        target_path=f"/data/image{number}.czi",
        signal_channel="6 'Bright'",
        target_channel="5 'H3342'",
        format="Czi",
        shape=(65, 624, 924),
        grid_shape=(65, 232, 344),
        voxel_size_um=(0.29, 0.108, 0.108),
        box=((0, 65), (0, 624), (0, 924)),
        facts=None,
    )


def a_finding(
    number: int, severity: str = "warning", code: str = "saturated"
) -> Finding:
    where = f"lab/volumes.csv: row {number}, image{number}.czi"
    message = f"{number}.0% of the voxels are clipped at 4095"
    remedy = "record it with less exposure or gain, or leave it out"
    return Finding(severity, code, where, "5 'H3342' (target)", message, remedy)


def test_a_sound_manifest_is_a_table_and_a_verdict():
    pairs = [a_pair(2), a_pair(3), a_pair(4, "valid"), a_pair(5, "test")]
    pairs[1] = dataclasses.replace(pairs[1], shape=(60, 624, 924))
    golgi = [
        dataclasses.replace(a_pair(6), task="golgi_apparatus"),
        dataclasses.replace(
            a_pair(7, "test"),
            task="golgi_apparatus",
            format="Tiff",
            signal_channel="3",
            voxel_size_um=(0.29, 0.0859, 0.108),
        ),
    ]

    assert format_report([*pairs, *golgi], []) == HAPPY


def test_findings_stand_by_severity_and_name_row_file_channel_and_remedy():
    findings = [a_finding(9, "error", "constant"), a_finding(3)]

    report = format_report([a_pair(2)], findings)

    error, warning = report.index("ERRORS"), report.index("WARNINGS")
    assert error < report.index("row 9, image9.czi") < warning
    flat = " ".join(report[warning:].split())
    assert (
        "- row 3, image3.czi, channel 5 'H3342' (target): 3.0% of the voxels are "
        "clipped at 4095; record it with less exposure or gain, or leave it out"
    ) in flat
    assert flat.endswith("Not fit for a run: 1 error, 1 warning; 1 pair (headers only) "
                         "checked.")  # fmt: skip


def test_many_findings_of_one_kind_are_cut_short_unless_all_are_asked_for():
    findings = [a_finding(number) for number in range(2, 17)]

    short = format_report([a_pair(2)], findings)
    long = format_report([a_pair(2)], findings, verbose=True)

    assert short.count("clipped") == 3
    assert "... and 12 more like this (saturated); --verbose names them" in short
    assert "Fit for a run, with 15 warnings" in short
    assert long.count("clipped") == 15
    assert "more like this" not in long


def test_one_finding_more_than_are_told_is_told_too():
    report = format_report([a_pair(2)], [a_finding(number) for number in range(4)])

    assert report.count("clipped") == 4


def test_no_line_is_wider_than_the_terminal():
    pair = dataclasses.replace(
        a_pair(2), signal_channel="0 'transmitted light of the second camera, 100x'"
    )
    pairs = [
        pair,
        *(dataclasses.replace(pair, target_channel=f"{n}") for n in range(9)),
    ]

    lines = format_report(pairs, [a_finding(2), a_finding(3, "error")]).splitlines()

    assert max(map(len, lines)) <= WIDTH


def test_a_manifest_without_one_sound_row_has_a_report_of_errors():
    error = UserError("lab/volumes.csv: row 2: image2.czi: damaged; copy it again")

    report = format_report([], [finding_from_error("lab/volumes.csv", error)])

    assert report.splitlines()[1] == f"  - {error}"
    assert report.endswith("Not fit for a run: 1 error; 0 pairs checked.")


def test_rows_of_several_manifests_keep_their_names():
    pairs = [a_pair(2), dataclasses.replace(a_pair(2), where="lab/more.csv: row 2")]

    report = format_report(pairs, [a_finding(2)])

    assert report.startswith("lab/more.csv, lab/volumes.csv\n")
    assert "  - lab/volumes.csv: row 2, image2.czi" in report


def test_it_is_told_of_how_many_pairs_a_shift_would_go_unseen():
    noise = np.random.default_rng(0).normal(size=(2, 8, 64, 64))
    unrelated = dataclasses.replace(a_pair(2), facts=measure_pair(*noise))
    light = ndimage.gaussian_filter(noise[0], (0, 1, 1))
    related = dataclasses.replace(a_pair(3), facts=measure_pair(light, light + 1))
    told = "1 pair shows too little in common to tell whether they are registered."
    assert format_report([unrelated, related], []).endswith(told)
    assert "registered" not in format_report([related, a_pair(4)], [])


def test_json_holds_status_findings_and_all_facts():
    light = np.random.default_rng(0).integers(0, 4000, (3, 60, 60), np.uint16)
    facts = measure_pair(light, light[::-1])
    pairs = [dataclasses.replace(a_pair(2), facts=facts), a_pair(3)]

    read = json.loads(to_json(pairs, [a_finding(2)]))

    assert read["status"] == 3
    found = read["findings"][0]
    assert found.pop("line") == a_finding(2).line()
    assert Finding(**found) == a_finding(2)
    assert from_json(read["pairs"][0]["facts"]) == facts
    assert read["pairs"][1]["facts"] is None
    assert read["pairs"][1]["shape"] == [65, 624, 924]
