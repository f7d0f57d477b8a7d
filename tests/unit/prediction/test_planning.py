import shutil
from pathlib import Path

import numpy as np
import pytest

from continual_repmode.errors import UserError
from continual_repmode.prediction import checking
from continual_repmode.prediction.options import PredictOptions
from continual_repmode.prediction.planning import plan_predictions
from continual_repmode.volumes.formats.writing import save_volume

UM = (0.3, 0.11, 0.12)


@pytest.fixture
def folder(tmp_path, light) -> Path:
    """Return a folder of two sound images, one of which has no name for its light."""
    channels = np.stack([light, light[:, ::-1]])
    for name, channel_names in (("a", ["Bright", "DAPI"]), ("day1/b", ["x", "y"])):
        save_volume(
            tmp_path / "in" / f"{name}.ome.tif", channels, axes="CZYX",
            voxel_size_um=UM, channel_names=channel_names,
        )  # fmt: skip
    return tmp_path / "in"


@pytest.fixture
def plan(model, tmp_path):
    def make(*inputs, format_="zarr", **options):
        chosen = PredictOptions(**options)
        return plan_predictions(model, inputs, tmp_path / "out", chosen, format_)

    return make


def test_folders_keep_their_structure(plan, folder, tmp_path):
    found = plan(folder, channel=0, format_="tiff")

    assert [job.output.relative_to(tmp_path).as_posix() for job in found.jobs] == [
        "out/a.ome.tif",
        "out/day1/b.ome.tif",
    ]
    assert not (tmp_path / "out").exists()


def test_faults_of_single_images_do_not_stop_the_others(plan, folder):
    (folder / "c.tif").write_bytes(b"II*\0 no more")
    np.save(folder / "d.npy", np.ones((3, 4, 5)))

    found = plan(folder)

    assert [job.image.name for job in found.jobs] == ["a"]
    told = [str(error) for error in found.failures]
    assert len(told) == 3
    for problem in ("c.tif", r"--voxel-size", "--channel"):
        assert any(problem in line for line in told), problem


def test_what_may_be_a_mistake_is_asked_back_before_it_is_predicted(
    plan, folder, monkeypatch
):
    image = folder / "a.ome.tif"
    asked = plan(image, voxel_size_um=(0.3, 5.0, 5.0))
    (told,) = map(str, asked.failures)
    assert not asked.jobs
    assert "voxels are 5 µm along y, 16.7 times" in told
    assert told.endswith("continue with --yes (in Python: yes=True)")
    assert plan(image, voxel_size_um=(0.3, 5.0, 5.0), yes=True).jobs

    noise = np.random.default_rng(0).integers(90, 400, (2, 3, 40, 40), np.uint16)
    path = folder / "noise.ome.tif"
    save_volume(path, noise, axes="CZYX", voxel_size_um=(0.3,) * 3)
    (told,) = map(str, plan(path, channel=0).failures)
    assert "noise.ome.tif: its light looks like noise: " in told
    assert plan(path, channel=0, yes=True).jobs

    monkeypatch.setattr(checking, "MOST_WINDOWS", 1)
    (told,) = map(str, plan(image).failures)
    assert "windows for each structure; mend it or" in told
    assert plan(image, yes=True).jobs


def test_two_images_of_one_output_are_refused(plan, folder):
    shutil.copy(folder / "a.ome.tif", folder / "a.tif")

    with pytest.raises(UserError, match="would both be written"):
        plan(folder, channel=0)


def test_two_outputs_that_differ_by_case_are_refused_where_case_is_ignored(
    plan, folder, monkeypatch
):
    shutil.copy(folder / "a.ome.tif", folder / "A.ome.tif")
    assert [job.image.name for job in plan(folder, channel=0).jobs][:2] == ["A", "a"]
    monkeypatch.setattr(checking, "_ignores_case", lambda _: True)
    with pytest.raises(UserError, match="would both be written"):
        plan(folder, channel=0)


def test_no_image_is_replaced_by_its_own_prediction(model, folder):
    options = PredictOptions(overwrite=True)

    with pytest.raises(UserError, match=r"a\.ome\.tif: would be replaced"):
        plan_predictions(model, [folder / "a.ome.tif"], folder, options, "tiff")


def test_a_file_given_twice_is_predicted_once(plan, folder):
    found = plan(folder / "a.ome.tif", f"{folder}/*.tif")

    assert len(found.jobs) == 1


def test_what_is_chosen_of_a_file_is_in_the_name(plan, folder):
    found = plan(folder / "a.ome.tif", choices={"scene": "0"})

    assert found.jobs[0].image.name == "a_scene-0"


def test_targets_must_be_clear(plan, folder):
    target = str(folder / "a.ome.tif")

    with pytest.raises(UserError, match="of one structure, but 2 are predicted"):
        plan(folder, target="DAPI")
    with pytest.raises(UserError, match="one file for 2 images"):
        plan(folder, tasks="dna", target=target)
    found = plan(folder, tasks="dna", target="1", channel=0)
    assert [set(job.image.targets) for job in found.jobs] == [{"dna"}, {"dna"}]


def test_manifests_bring_their_targets(plan, folder, tmp_path):
    manifest = tmp_path / "pairs.csv"
    manifest.write_text(
        "task,path,channel_signal,channel_target\n"
        "dna,in/a.ome.tif,0,1\nlysosome,in/a.ome.tif,0,1\n"
    )

    (job,) = plan(manifest).jobs

    assert set(job.provenance["targets"]) == {"dna"}
    assert set(job.image.targets) == {"dna", "lysosome"}


def test_a_full_disk_is_told_before_work_starts(plan, folder, monkeypatch):
    usage = type(shutil.disk_usage(folder))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 1000))

    with pytest.raises(UserError, match="predicting 2 images needs"):
        plan(folder, channel=0)
