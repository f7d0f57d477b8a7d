"""Which volumes of a lab are used, and in what patches."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from continual_repmode.data.signals import look_of, signal_statistics
from continual_repmode.errors import UserError
from continual_repmode.extending.base_network import open_base
from continual_repmode.extending.lab_volumes import choose_patch, open_lab_volumes
from continual_repmode.manifests.rows import CROP
from continual_repmode.models import TaskCard
from continual_repmode.volumes.formats.writing import save_volume
from continual_repmode.volumes.normalization import zscore

UM = (0.29, 0.29, 0.29)
WINDOW = (16, 32, 32)


@pytest.mark.parametrize(
    ("shapes", "divisor", "patch"),
    [
        ([(40, 200, 300)], (4, 4, 4), (16, 32, 32)),
        ([(40, 200, 300), (13, 30, 300)], (4, 4, 4), (12, 28, 32)),
        ([(1, 90, 31)], (1, 16, 16), (1, 32, 16)),
        ([], (4, 4, 4), (16, 32, 32)),
    ],
)
def test_the_window_is_cut_to_what_fits_into_every_image(shapes, divisor, patch):
    assert choose_patch(None, WINDOW, shapes, divisor) == patch


def test_a_patch_that_is_asked_for_is_taken_or_refused():
    assert choose_patch((8, 8, 8), WINDOW, [(9, 9, 9)], (4, 4, 4)) == (8, 8, 8)
    with pytest.raises(UserError, match=r"8 x 8 x 12: the X side 12 is larger .* 9 "):
        choose_patch((8, 8, 12), WINDOW, [(9, 9, 9)], (4, 4, 4))
    for asked in (None, (4, 8, 8)):
        with pytest.raises(UserError, match=r"3 voxels along Z .*the 4 .*--pad-small"):
            choose_patch(asked, WINDOW, [(3, 90, 90)], (4, 4, 4))
        patch = choose_patch(asked, WINDOW, [(3, 90, 90)], (4, 4, 4), pad_small=True)
        assert patch == (asked or (4, 32, 32))
    with pytest.raises(
        UserError, match=r"6 x 8 x 8: the Z side 6 is not a multiple of 4"
    ):
        choose_patch((6, 8, 8), WINDOW, [(9, 9, 9)], (4, 4, 4))


def test_volumes_are_prepared_as_those_of_the_model_and_others_left_alone(
    lab, settings
):
    chosen = settings()
    base = open_base(lab.model, "lysosome", chosen)
    (lab.manifest.parent / "peroxisome0.ome.tif").rename(lab.manifest.parent / "away")
    try:
        volumes = open_lab_volumes(lab.manifest, "lysosome", base, chosen)
    finally:
        (lab.manifest.parent / "away").rename(
            lab.manifest.parent / "peroxisome0.ome.tif"
        )
    assert volumes.collection.tasks == ("lysosome",)
    assert volumes.collection.voxel_size_um == base.card.voxel_size_um
    pair = volumes.collection.pairs("lysosome", "train")[0]
    assert (pair.preparation.resize, pair.preparation.order) == (
        base.card.resize,
        base.card.order,
    )
    assert volumes.patch_size == (4, 16, 16)


def fields(blur: float) -> list[np.ndarray]:
    """Light and stain of three fields, as fine as that."""
    noise = np.random.default_rng(0).standard_normal((3, 2, 8, 48, 48))
    return [1000 + 100 * gaussian_filter(field, (0, 1, blur, blur)) for field in noise]


def test_light_of_another_look_than_that_of_the_model_is_told(
    lab, settings, tmp_path, caplog
):
    lines = ["task,path,channel_signal,channel_target"]
    for index, field in enumerate(fields(blur=1.0)):
        save_volume(
            tmp_path / f"{index}.ome.tif", field.astype(np.float32), axes="CZYX",
            voxel_size_um=UM, channel_names=["Bright", "EGFP"],
        )  # fmt: skip
        lines.append(f"lysosome,{index}.ome.tif,Bright,EGFP")
    (tmp_path / "lab.csv").write_text("\n".join(lines))
    base = open_base(lab.model, "lysosome", settings())
    told = {}
    for blur in (1.0, 3.0):  # of what the model was trained on
        looks = [look_of(zscore(light)[0], UM) for light, _ in fields(blur)]
        tasks = {"dna": TaskCard(signals=signal_statistics(looks))}
        known = replace(base, card=replace(base.card, tasks=tasks))
        caplog.clear()
        open_lab_volumes(tmp_path / "lab.csv", "lysosome", known, settings())
        told[blur] = caplog.text.count("unlike the training images of dna in base.saf")
    assert told == {1.0: 0, 3.0: 3}


def test_splits_are_made_from_three_images_on_and_crops_are_the_way_below(
    lab, settings, tmp_path
):
    base = open_base(lab.model, "lysosome", settings())
    lines = lab.manifest.read_text().splitlines()
    header, *rows = (line.rpartition(",")[0] for line in lines)
    manifest = tmp_path / "unsplit.csv"

    def opened(number):
        manifest.write_text("\n".join([header, *rows[:number]]) + "\n")
        chosen = settings(root=lab.manifest.parent)
        return open_lab_volumes(manifest, "lysosome", base, chosen)

    collection = opened(3).collection
    for split in ("train", "valid", "test"):
        assert len(collection.pairs("lysosome", split)) == 1
    with pytest.raises(
        UserError, match=r"2 image\(s\) of lysosome .* column split"
    ) as e:
        opened(2)
    assert ", ".join(CROP) in str(e.value)
