"""The launcher starts, watches, restarts and stops: here over a fake engine's process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest

from core.errors import EngineUnavailable, SettingsError
from core.settings import EngineSettings, Settings
from feedback.store import Store
from feedback.tables import EngineReplica
from serving import launcher
from serving.engine import serve_engine
from serving.hardware import detect
from serving.launcher import SOURCE_ROOT, Command, engine_command, run_engine
from tests.fakes.engine import FakeEngine
from tests.ports import free_port
from tests.ready_store import ready_store


def engine_settings(folder: Path, **engine: object) -> Settings:
    fields = {"port": free_port(), "stop_timeout_s": 0.5, "start_timeout_s": 30.0, **engine}
    return Settings(data_dir=folder, engine=EngineSettings.model_validate(fields))


def fake_command(settings: Settings, *options: str) -> Command:
    arguments = (sys.executable, "-m", "tests.fakes.engine", str(settings.engine.port), *options)
    return Command(arguments, {"PYTHONPATH": str(SOURCE_ROOT)})


def wait_until(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "that did not happen in time"
        time.sleep(0.02)


def is_up(settings: Settings) -> bool:
    try:
        return httpx.get(f"{settings.engine.url}/health").status_code == 200
    except httpx.TransportError:
        return False


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


@contextmanager
def serving(settings: Settings, command: Command) -> Generator[list[float]]:
    """Run the engine in a thread until the block ends; give the times at which it was ready."""
    stop, ready = threading.Event(), list[float]()
    store = ready_store(settings.store_address)
    thread = threading.Thread(
        target=serve_engine,
        args=(settings, store, stop),
        kwargs={"command": command, "on_ready": lambda: ready.append(time.monotonic())},
    )
    thread.start()
    try:
        yield ready
    finally:
        stop.set()
        thread.join(20)
        assert not thread.is_alive(), "the launcher did not stop"
        store.close()


def test_an_engine_starts_and_stops_with_all_its_processes(tmp_path: Path) -> None:
    """After the stop nothing is left, not even a worker that ignores SIGTERM."""
    settings = engine_settings(tmp_path)
    child = tmp_path / "child.pid"
    with serving(settings, fake_command(settings, "--child", str(child))) as ready:
        wait_until(lambda: bool(ready) and child.exists())
        assert is_up(settings)
        assert is_running(int(child.read_text()))
    assert not is_up(settings)
    assert not is_running(int(child.read_text()))


def test_a_crashed_engine_is_started_again(tmp_path: Path) -> None:
    """It comes back after a pause, and what it said last is kept beside the new log."""
    settings = engine_settings(tmp_path)
    crash = tmp_path / "crash"
    with serving(settings, fake_command(settings, "--crash-when", str(crash))) as ready:
        wait_until(lambda: len(ready) == 1)
        crash.touch()
        wait_until(lambda: len(ready) == 2)
        assert is_up(settings)
    assert ready[1] - ready[0] > 0.9
    assert "crashed as asked" in (tmp_path / "engine.previous.log").read_text()


def test_an_engine_that_dies_at_once_tells_why(tmp_path: Path) -> None:
    """The error carries the code and the last lines of the engine's log."""
    settings = engine_settings(tmp_path)
    stop = threading.Event()
    store = ready_store(settings.store_address)
    with pytest.raises(EngineUnavailable, match="no room for the model") as caught:
        serve_engine(
            settings,
            store,
            stop,
            command=fake_command(settings, "--crash", "no room for the model"),
        )
    store.close()
    assert "code 1" in str(caught.value)
    assert str(tmp_path / "engine.log") in str(caught.value)


def test_an_engine_that_never_gets_ready_is_given_up(tmp_path: Path) -> None:
    """After engine.start_timeout_s the error names that setting, and the process is gone."""
    settings = engine_settings(tmp_path, start_timeout_s=0.5)
    pid_file = tmp_path / "pid"
    code = f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    store = ready_store(settings.store_address)
    with pytest.raises(EngineUnavailable, match="start_timeout_s"):
        serve_engine(
            settings, store, threading.Event(), command=Command((sys.executable, "-c", code), {})
        )
    store.close()
    assert not is_running(int(pid_file.read_text()))


def test_a_killed_launcher_leaves_no_engine(tmp_path: Path) -> None:
    """kill -9 of the launcher ends the engine and its workers too."""
    port, child = free_port(), tmp_path / "child.pid"
    code = textwrap.dedent(f"""
        import threading
        from pathlib import Path
        from core.settings import EngineSettings, Settings
        from feedback.store import Store
        from serving.engine import serve_engine
        from tests.unit.test_launcher import fake_command
        engine = EngineSettings(port={port}, stop_timeout_s=0.5)
        settings = Settings(data_dir=Path({str(tmp_path)!r}), engine=engine)
        store = Store(settings.store_address)
        store.create_tables()
        command = fake_command(settings, "--child", {str(child)!r})
        serve_engine(settings, store, threading.Event(), command=command)
    """)
    process = subprocess.Popen([sys.executable, "-c", code], cwd=SOURCE_ROOT)
    try:
        settings = engine_settings(tmp_path, port=port)
        wait_until(lambda: is_up(settings) and child.exists())
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    wait_until(lambda: not is_up(settings) and not is_running(int(child.read_text())))


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    """The error says which port and which setting to change."""
    settings = engine_settings(tmp_path)
    store = ready_store(settings.store_address)
    with socket.socket() as other:
        other.bind((settings.engine.host, settings.engine.port))
        other.listen()
        with pytest.raises(SettingsError, match=str(settings.engine.port)) as caught:
            serve_engine(settings, store, threading.Event(), command=fake_command(settings))
    store.close()
    assert caught.value.field == "engine.port"


def test_engines_of_others_are_kept_right_and_not_started(tmp_path: Path) -> None:
    """With engine.replicas nothing is started, not even with a model that is missing."""
    with FakeEngine() as engine:
        settings = Settings(
            data_dir=tmp_path,
            engine=EngineSettings(
                model=tmp_path / "nowhere", replicas=(engine.url,), reconcile_every_s=0.02
            ),
        )
        store = ready_store(settings.store_address)
        stop = threading.Event()
        thread = threading.Thread(target=serve_engine, args=(settings, store, stop))
        thread.start()
        wait_until(lambda: _engine_state(store, engine.url) == "up")
        stop.set()
        thread.join(10)
        store.close()
    assert not thread.is_alive()


def _engine_state(store: Store, url: str) -> str | None:
    with store.session() as session:
        row = session.get(EngineReplica, url)
    return row.state if row else None


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    """Before anything starts, the error names the folder and how to get the model."""
    settings = engine_settings(tmp_path, model=tmp_path / "nowhere")
    with pytest.raises(SettingsError, match=r"nowhere.*make setup"):
        run_engine(settings, threading.Event())


@pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed")
def test_a_model_in_place_gives_vllms_command(tmp_path: Path) -> None:
    """The command runs vLLM's server module with the model's folder."""
    (tmp_path / "config.json").write_text("{}")
    command = engine_command(EngineSettings(model=tmp_path), detect())
    assert command.arguments[1:3] == ("-m", "vllm.entrypoints.openai.api_server")
    assert str(tmp_path) in command.arguments


def test_an_engine_that_no_longer_answers_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process lives, its health does not: after some checks in a row it counts as dead."""
    monkeypatch.setattr(launcher, "HEALTH_EVERY_S", 0.02)
    settings = engine_settings(tmp_path)
    sick = tmp_path / "sick"
    with serving(settings, fake_command(settings, "--sick-when", str(sick))) as ready:
        wait_until(lambda: len(ready) == 1)
        sick.touch()
        wait_until(lambda: len(ready) == 2)
        assert is_up(settings)
