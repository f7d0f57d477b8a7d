from pathlib import Path

import pytest

from continual_repmode.resources import cache_folder, config_folder, scenario_folder


def test_the_cache_is_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder("prepared") == tmp_path / "continual_repmode" / "prepared"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    expected = tmp_path / ".cache" / "continual_repmode" / "synthetic"
    assert cache_folder("synthetic") == expected


def test_settings_and_streams_are_found() -> None:
    assert (config_folder() / "run.yaml").is_file()
    assert (scenario_folder() / "incremental.yaml").is_file()
