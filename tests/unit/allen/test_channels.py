from pathlib import Path

import pytest

from continual_repmode.allen.channels import find_channel
from continual_repmode.errors import UserError

SEVEN = ("Bright_1", "CMDRP", "", "EGFP", "", "H3342", "Bright_2")
FOUR = ("DRAQ5", "EGFP", "Hoechst", "TL")
NAMELESS = ("",) * 7
IMAGE = Path("a.czi")


def found(names, role, dataset="zo1"):
    channel = find_channel(IMAGE, names, role, dataset)
    assert channel.name == names[channel.index]
    return channel.index, channel.grounds


def test_name_and_place_agree_in_both_layouts():
    for names, channels in ((SEVEN, (6, 3, 5)), (FOUR, (3, 1, 2))):
        roles = ("light", "structure", "dna")
        for role, channel in zip(roles, channels, strict=True):
            assert found(names, role) == (channel, "name and place")


def test_of_several_channels_of_one_name_the_one_in_place_is_meant():
    names = ("TL",) * 3 + ("EGFP", "TL", "H3342", "TL")
    assert found(names, "light") == (6, "name and place")


def test_names_that_say_nothing_leave_it_to_the_place():
    for names in (NAMELESS, ("", "", "", "Camera", "", "x", "y")):
        assert found(names, "light") == (6, "place")
        assert found(names, "structure") == (3, "place")


def test_a_number_of_channels_that_fits_no_layout_leaves_it_to_the_names():
    names = ("EGFP", "TL", "H3342")
    assert found(names, "light") == (1, "name")
    assert found(names, "structure") == (0, "name")


def test_a_name_against_its_place_is_an_error_that_tells_both():
    for names, expected, finding in (
        (("TL", "", "", "EGFP", "", "H3342", ""), 6, "it is 0"),
        (("", "", "", "", "", "", "EGFP"), 6, "it is none"),
        (("TL", "TL", "", "EGFP", "", "H3342", "CMDRP"), 6, "it is 0 or 1"),
        (("TL", "EGFP", "H3342", ""), 3, "it is 0"),
    ):
        with pytest.raises(UserError) as told:
            find_channel(IMAGE, names, "light", "zo1")
        message = str(told.value)
        assert message.startswith("a.czi: by its place, 'light' is channel ")
        for part in (f"channel {expected};", finding, repr(names[0])):
            assert part in message


def test_neither_name_nor_place_is_an_error():
    for names in (("", ""), ("TL", "TL"), ()):
        with pytest.raises(UserError, match="cannot tell which channel shows 'light'"):
            find_channel(IMAGE, names, "light", "zo1")


def test_the_membrane_images_have_a_layout_of_their_own():
    for name in ("CMDRP", "EGFP", "", "TagRFP-T"):
        names, dataset = ("", "", "", name, "TL"), "membrane_caax_63x"
        assert found(names, "membrane", dataset)[0] == 3, name
        assert found(names, "light", dataset) == (4, "name and place"), name


def test_the_membrane_layout_counts_whatever_the_number_of_channels():
    names = ("EGFP", "", "", "", "")
    with pytest.raises(
        UserError, match="'membrane' is channel 3; by the names it is 0"
    ):
        find_channel(IMAGE, names, "membrane", "membrane_caax_63x")
    with pytest.raises(UserError, match="cannot tell"):
        find_channel(IMAGE, names[:3], "light", "membrane_caax_63x")
