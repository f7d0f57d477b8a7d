import re

import numpy as np
import pytest
import yaml

from continual_repmode.reporting import write_report
from continual_repmode.volumes.formats.writing import save_volume

SHAPE = "8 \N{MULTIPLICATION SIGN} 32 \N{MULTIPLICATION SIGN} 32"


@pytest.fixture
def lab(tmp_path, make_run):
    """A run on a manifest with one image too few."""
    lines = ["task,split,path,channel_signal,channel_target"]
    for index, split in enumerate(("train", "train", "valid")):
        data = np.random.default_rng(index).integers(0, 4000, (2, 8, 32, 32))
        save_volume(
            tmp_path / f"{index}.ome.tif",
            data.astype(np.uint16),
            axes="CZYX",
            voxel_size_um=(0.29, 0.29, 0.29),
            channel_names=["Bright", "EGFP"],
        )
        lines.append(f"dna,{split},{index}.ome.tif,Bright,EGFP")
    (tmp_path / "pairs.csv").write_text("\n".join(lines) + "\n")
    folder = make_run(tmp_path / "run", done=1)
    data = {
        "option": "manifest",
        "manifest": str(tmp_path / "pairs.csv"),
        "patch_size": [4, 16, 16],
        "voxel_size_um": [0.29, 0.29, 0.29],
        "seed": 0,
    }
    config = {"scenario": {"name": "x", "experiences": [["dna"]]}, "data": data}
    folder.config.write_text(yaml.safe_dump(config))
    return folder


def test_the_manifest_is_checked_as_it_is_now(lab, parse, tmp_path):
    page = parse(write_report([lab.path], tmp_path / "report.html"))

    row = next(r for r in page.rows if r[-1] == "0 'Bright' → 1 'EGFP'")
    assert row[:6] == ["DNA", "2", "1", "0", "TIFF", SHAPE]
    assert "as they are now, not as they were" in page.text
    assert re.search(r"error task dna: images: [^;]*no test", page.text)


def test_a_manifest_that_is_gone_is_told(lab, parse, tmp_path):
    (tmp_path / "pairs.csv").unlink()
    page = parse(write_report([lab.path], tmp_path / "report.html"))
    assert "pairs.csv is not here any more" in page.text


def test_a_manifest_that_cannot_be_read_is_told(lab, parse, tmp_path):
    (tmp_path / "pairs.csv").write_text("colour\nred\n")
    page = parse(write_report([lab.path], tmp_path / "report.html"))
    assert "The check could not be done:" in page.text


def test_generated_data_have_no_such_section(make_run, parse, tmp_path):
    folder = make_run(tmp_path / "run", done=1)
    page = parse(write_report([folder.path], tmp_path / "report.html"))
    assert "run1-data" not in page.attributes("id")
