from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from continual_repmode.volumes.plausibility import doubts, noise
from continual_repmode.volumes.source_channels import SourceChannel

GRID = (0.29, 0.29, 0.29)


def asked(shape=(30, 60, 60), um=GRID, role="light", file="a.tif", **more):
    names, at = more.pop("names", ("",)), more.pop("at", 0)
    volume = SimpleNamespace(path=Path(file), channel_names=names)
    box = tuple(slice(0, side) for side in shape)
    return list(doubts(SourceChannel(volume, at, box), role, um, GRID, **more))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"shape": (2, 60, 60)}, "its 2 planes are no stack"),
        ({"shape": (1, 60, 60)}, "its 1 plane is no stack"),
        ({"um": (0.29, 1.6, 0.29)}, "its voxels are 1.6 µm along y, 5.52 times"),
        ({"um": (29.0, 0.1, 0.1)}, "29 µm along z, 100 times"),
        ({"um": (0.3, 0.1, 1e-4)}, "0.0001 µm along x"),
        ({"names": ("DAPI",)}, "channel 0 'DAPI' is named like no transmitted light"),
        ({"names": ("BF", "EGFP"), "at": 1}, "'EGFP' is named like no transmitted"),
        ({"file": "dapi001.tiff"}, "file 'dapi001.tiff' is named like no transmitted"),
        ({"names": ("Bright_2",), "role": "target"}, "like no fluorescence"),
    ],
)
def test_what_may_be_a_mistake_is_asked_back(given, told):
    (doubt,) = asked(**given)
    assert told in doubt


LIGHTS = (
    "Brightfield, TL DIC, Bright, Phase, transmitted, T-PMT, ESID, light, BF, "
    "Bright_2, TL Brightfield, TL 100x, Ph2, phase_contrast, Transmitted Light, "
    "trans001, DIC-2, T PMT-T1, label-free, C:0, C1, Ch1-T1, 561, Channel 3, Cam 2, "
    "signal, x, input, GFP brightfield, Brightfield (no DAPI), ChA, gray, Default, "
    "error, tophat"
)
FLUORESCENT = (
    "DNA, DAPI, GFP, EGFP, Hoechst, Hoechst 33342, H3342, DRAQ5, CellMask Deep Red, "
    "dna, DNA_dye, membrane_dye, alpha_tubulin_EGFP, LAMP1_EGFP, mCherry, GFP-T1, "
    "488-GFP, Ch2 mRFP1, tdTomato, mNeonGreen, FITC, TRITC, Cy3, Cy5-T2, Alexa Fluor "
    "488, Alexa568, AF647, ATTO 647N, Texas Red, Rhodamine, MitoTracker Deep Red, "
    "SiR-actin, Phalloidin, fluorescence, Fluo, Nuclei, nucleolus, Nuclear envelope, "
    "tight_junction, Mitochondria, microtubules, actin filament, Golgi, "
    "DNA_segmentation, H2B-YFP"
)


def test_a_light_is_told_from_fluorescence_by_its_name():
    assert [n for n in LIGHTS.split(", ") if asked(names=(n,))] == []
    fluorescent = FLUORESCENT.split(", ")
    assert [n for n in fluorescent if not asked(names=(n,))] == []
    assert [n for n in fluorescent if asked(names=(n,), role="target")] == []
    # a file may be called after the structure that it is paired with
    named = ("nucleolus_01.tif", "dna-light.tif", "DNA.tif", "GFP_bf_3.tif")
    assert [name for name in named if asked(file=name)] == []
    dyed = ("Hoechst_3.czi", "a-GFP.tif", "mCherry01.tif")
    assert [name for name in dyed if not asked(file=name)] == []


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"shape": (3, 60, 60), "um": (3.0, 0.0852, 0.0852)},
        {"um": (0.145, 0.0144 + 0.001, 1.0)},
        {"names": ("TL 100x", "H3342")},
        {"names": ("light", "DAPI")},
        {"names": ("561", "488")},
        {"file": "bf_dapi.tif"},
        {"file": "dapi.tif", "names": ("", "")},
        {"file": "bf.tif", "role": "target"},
        {"names": ("EGFP",), "role": "target"},
        {"shape": (1, 9, 9), "role": "target"},
        {"shape": (1, 9, 9), "flat": True},
    ],
)
def test_what_laboratories_have_is_not(given):
    assert asked(**given) == []


def test_a_light_that_is_noise_is_told_by_a_plane_of_it():
    def told(planes):
        volume = SimpleNamespace(
            path=Path("a.tif"),
            channel_names=("",),
            read_channel=lambda channel, planes: voxels[planes],
        )
        voxels = np.asarray(planes)
        box = tuple(slice(0, side) for side in voxels.shape)
        return list(noise(SourceChannel(volume, 0, box)))

    rng = np.random.default_rng(0)
    pure = rng.poisson(90, (3, 64, 64)).astype("u2")
    smooth = gaussian_filter(rng.normal(size=(3, 64, 64)), (0, 1, 1))
    assert told(pure) == told(65000 - pure) == told(np.where(pure < 80, np.nan, pure))
    assert "its light looks like noise" in told(pure)[0]
    image = 100 + 100 * smooth + rng.normal(size=smooth.shape)
    hot = image.copy()
    hot[1, ::20, ::20] = 60_000
    for other in (image, hot, smooth, pure[:, :31], np.full((3, 64, 64), 7)):
        assert told(other) == []
