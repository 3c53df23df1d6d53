"""The demo's stage: a folder that is its own, settings that load, and phases that add up."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest

from core.console_settings import ConsoleSettings
from core.errors import SettingsError, StateError
from core.settings import (
    FILE_VARIABLE,
    EngineSettings,
    GatewaySettings,
    Settings,
    load_settings,
)
from loop.demo.stage import (
    APPLICATION,
    DATA,
    MARK,
    PhaseClock,
    empty_folder,
    set_automatic,
    write_settings,
)
from loop.service import running_service
from retrain.recipe import load_recipe
from tests.fakes.lora import write_base_config
from tests.ports import free_port


@pytest.fixture(autouse=True)
def _no_named_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading settings names their file for children; each test forgets it again."""
    monkeypatch.setenv(FILE_VARIABLE, "set, so that it is restored")
    monkeypatch.delenv(FILE_VARIABLE)


def test_a_foreign_folder_is_never_emptied(tmp_path: Path) -> None:
    """One file that is not the demo's is enough to stop it."""
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(SettingsError, match="--folder"):
        empty_folder(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
    assert not (tmp_path / MARK).exists()


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path: Path) -> None:
    """It is left as it is."""
    file = tmp_path / "demo"
    file.write_text("kept")
    with pytest.raises(SettingsError, match="is not a folder"):
        empty_folder(file)
    assert file.read_text() == "kept"


def test_a_folder_of_an_earlier_demo_is_made_anew(tmp_path: Path) -> None:
    """Only what the mark covers goes."""
    folder = tmp_path / "a" / "demo"
    empty_folder(folder)
    (folder / "data").mkdir()
    (folder / "data" / "store.db").touch()
    empty_folder(folder)
    assert [path.name for path in folder.iterdir()] == [MARK]


def test_a_link_to_the_folder_works_as_the_folder(tmp_path: Path) -> None:
    """The link stays, what it leads to is emptied."""
    folder, link = tmp_path / "disk", tmp_path / "demo"
    empty_folder(folder)
    (folder / "old").touch()
    link.symlink_to(folder)
    empty_folder(link)
    assert link.is_symlink()
    assert [path.name for path in folder.iterdir()] == [MARK]


def test_a_demo_that_runs_keeps_its_folder(tmp_path: Path) -> None:
    """A second demo in the same folder is refused instead of pulling it away."""
    empty_folder(tmp_path)
    running = Settings(
        data_dir=tmp_path / DATA,
        engine=EngineSettings(port=free_port()),
        gateway=GatewaySettings(port=free_port()),
        console=ConsoleSettings(port=free_port()),
    )
    with running_service(running, None), pytest.raises(StateError, match=str(os.getpid())):
        empty_folder(tmp_path)
    assert (tmp_path / DATA).is_dir()


@pytest.mark.parametrize("name", ["plain", 'with "quotes" and \\ and ü'])
def test_the_settings_load_whatever_the_folder_is_called(tmp_path: Path, name: str) -> None:
    """What is read back is what the stage means, in the folder it was given."""
    folder = tmp_path / name
    empty_folder(folder)
    model = write_base_config(tmp_path / "model")
    file, settings = write_settings(folder, model)
    assert settings.data_dir == folder.resolve() / DATA
    assert settings.engine.model == model.resolve()
    assert settings.engine.port != settings.gateway.port
    key = settings.applications[APPLICATION].api_key.get_secret_value()
    assert tomllib.loads(file.read_text())["applications"][APPLICATION]["api_key"] == key


def test_the_recipe_of_the_settings_is_one(tmp_path: Path) -> None:
    """It lies beside the stage, and retrain reads it."""
    _, settings = write_settings(tmp_path, write_base_config(tmp_path / "model"))
    assert load_recipe(settings.retrain.recipe).name


def test_the_service_trains_by_itself_when_it_is_told_to(tmp_path: Path) -> None:
    """Nothing else in the file changes, and it can be switched back."""
    file, settings = write_settings(tmp_path, write_base_config(tmp_path / "model"))
    before = file.read_text()
    assert not settings.retrain.automatic
    set_automatic(file, True)
    told = load_settings(file)
    assert told.retrain.automatic
    assert told.retrain.model_dump(exclude={"automatic"}) == settings.retrain.model_dump(
        exclude={"automatic"}
    )
    set_automatic(file, False)
    assert file.read_text() == before


def test_two_demos_have_two_keys(tmp_path: Path) -> None:
    """Nobody can learn the key of a demo from this file."""
    model = write_base_config(tmp_path / "model")
    first, second = (
        write_settings(tmp_path, model)[1].applications[APPLICATION].api_key for _ in range(2)
    )
    assert first.get_secret_value() != second.get_secret_value()


def test_a_missing_model_is_named_with_its_mend(tmp_path: Path) -> None:
    """Nothing is written then."""
    with pytest.raises(SettingsError, match=r"no base model in .*none: run `make setup`"):
        write_settings(tmp_path, tmp_path / "none")
    assert list(tmp_path.iterdir()) == []


def test_phases_are_timed_in_their_order() -> None:
    """Each starts no earlier than the one before it ended."""
    clock = PhaseClock()
    with clock.phase("first"):
        pass
    with clock.phase("second"):
        pass
    first, second = clock.phases
    assert (first.name, second.name) == ("first", "second")
    assert second.began_s >= first.began_s + first.seconds
