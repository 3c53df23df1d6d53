"""The command line answers operators in one line, and scripts in JSON, and loads what it needs."""

from __future__ import annotations

import io
import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog

from core.ids import new_id
from core.settings import FILE_VARIABLE, load_settings
from feedback.tables import Adapter, Rollout, Run, VerdictRecord
from loop.cli import main
from loop.conductor import Conductor
from loop.wiring import Parts, open_parts
from tests.unit.loop_world import add_adapters, write_settings_file

HEAVY = ("torch", "transformers", "vllm", "pandas", "matplotlib", "pyarrow", "sqlmodel", "aiohttp")


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, which must be JSON and nothing else."""
        return json.loads(self.out)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working folder, no settings, and afterwards the log configuration of before."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(FILE_VARIABLE, "set, so that it is restored")
    monkeypatch.delenv(FILE_VARIABLE)
    logs = structlog.get_config()
    yield tmp_path
    structlog.configure(**logs)


@pytest.fixture
def parts(place: Path) -> Iterator[Parts]:
    """The parts that the commands open too: application `desk`, a good and a bad adapter."""
    with open_parts(load_settings(write_settings_file(place))) as opened:
        add_adapters(opened.store)
        yield opened


def ratchet(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Done:
    """Run a command in this process as the console script does."""
    monkeypatch.setattr(sys, "argv", ["ratchet", *arguments])
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            main()
            code: object = 0
        except SystemExit as end:
            code = end.code
            if isinstance(code, str):  # as the interpreter does
                print(code, file=err)
                code = 1
    assert isinstance(code, int)
    return Done(code, out.getvalue(), err.getvalue())


def test_help_answers_without_settings_and_loads_nothing_heavy(place: Path) -> None:
    """A fresh process prints the commands although the named settings file does not exist."""
    code = (
        "import sys; from loop.cli import app; app(['--help'], standalone_mode=False); "
        f"print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {FILE_VARIABLE: str(place / "none.toml")},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "rollback" in done.stdout
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize("command", [["up"], ["canary", "start"], ["promote"], ["doctor"]])
def test_help_of_a_command_needs_no_settings(
    monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    """Who asks how to call a command gets an answer even where the settings are wrong."""
    Path("ratchet.toml").write_text("unknown = 1\n")
    done = ratchet(monkeypatch, *command, "--help")
    assert (done.code, done.err) == (0, "")
    assert "Usage" in done.out


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("unknown = 1", "unknown"),
        ("[gateway]\nport = 'many'", "gateway.port"),
        ("[canary]\nshares = [0.5, 0.1]", "shares"),
        ("data_dir = ", "not valid TOML"),
    ],
)
def test_wrong_settings_are_one_line_that_names_them(
    monkeypatch: pytest.MonkeyPatch, text: str, named: str
) -> None:
    """Exit code 1, nothing on standard output, no stack trace."""
    Path("ratchet.toml").write_text(text)
    done = ratchet(monkeypatch, "canary", "list")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: ")
    assert named in done.err
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("how", ["option", "variable"])
def test_a_settings_file_that_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """A file that was asked for by name is never replaced by defaults."""
    if how == "variable":
        monkeypatch.setenv(FILE_VARIABLE, "gone.toml")
    option = ["--settings", "gone.toml"] if how == "option" else []
    done = ratchet(monkeypatch, *option, "adapter", "list")
    assert done.code == 1
    assert done.err.startswith("error: settings file gone.toml does not exist")


def test_a_data_folder_that_cannot_be_made_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names data_dir, the setting to change."""
    Path("taken").touch()
    Path("ratchet.toml").write_text('data_dir = "taken/data"\n')
    done = ratchet(monkeypatch, "adapter", "list")
    assert done.code == 1
    assert done.err.startswith("error: data_dir is taken/data")


@pytest.mark.parametrize(
    "url", ["nonsense", "nosuchdatabase://host/db", "sqlite:///taken", "postgresql+asyncpg://h/d"]
)
def test_a_store_that_cannot_be_opened_is_one_line(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    """Whatever is wrong with it, the setting is named and no statement or trace is shown."""
    Path("taken").write_bytes(b"not a database, but long enough to be looked at " * 50)
    Path("ratchet.toml").write_text(f"store_url = {json.dumps(url)}\n")
    done = ratchet(monkeypatch, "adapter", "list")
    assert done.code == 1
    assert done.err.startswith("error: ")
    assert "store_url" in done.err
    assert done.err.count("\n") == 1


UNKNOWN = (
    ["curate", "nobody"],
    ["retrain", "nobody"],
    ["resume", "nobody"],
    ["turn", "nobody", "--json"],
    ["canary", "start", "nobody--v1"],
    ["canary", "start", "nobody--v1", "--override-by", "olga", "--reason", "to see"],
    ["canary", "explain", "nobody"],
    ["canary", "report", "nobody"],
    ["promote", "nobody", "--by", "olga", "--reason", "to see"],
    ["rollback", "nobody", "--by", "olga", "--reason", "to see", "--json"],
)


def test_an_unknown_name_is_one_line(monkeypatch: pytest.MonkeyPatch, parts: Parts) -> None:
    """The error says which name was not found; standard output stays empty."""
    for command in UNKNOWN:
        done = ratchet(monkeypatch, *command)
        assert (done.code, done.out) == (1, ""), command
        assert done.err.startswith("error: no "), command
        assert "'nobody" in done.err, command
        assert done.err.count("\n") == 1, command


SILENT = (
    (["canary", "start", "desk--v2", "--override-by", "olga"], "reason"),
    (["canary", "start", "desk--v2", "--override-by", " ", "--reason", "x"], "operator"),
    (["canary", "start", "desk--v2", "--reason", "x"], "--override-by"),
    (["promote", "r", "--by", "olga", "--reason", " "], "--reason"),
    (["rollback", "r", "--by", "", "--reason", "x"], "--by"),
    (["retrain", "desk", "--by", ""], "--by"),
)


def test_what_is_kept_with_a_decision_must_say_something(
    monkeypatch: pytest.MonkeyPatch, parts: Parts
) -> None:
    """An empty name or reason is refused, and nothing is recorded."""
    for command, named in SILENT:
        done = ratchet(monkeypatch, *command)
        assert done.code == 1, command
        assert named in done.err, command
    with parts.store.session() as session:
        assert session.get_one(Adapter, "desk--v2").override_by is None


def test_a_rollout_is_started_listed_and_rolled_back(
    monkeypatch: pytest.MonkeyPatch, parts: Parts
) -> None:
    """Ids are whole however narrow the terminal, and a reason's brackets stay."""
    begun = ratchet(monkeypatch, "canary", "start", "desk--v1")
    assert begun.code == 0
    id_ = begun.out.split()[1]
    assert id_ in ratchet(monkeypatch, "canary", "list").out
    reason = "see [INC-12] and [/b]"
    ended = ratchet(monkeypatch, "rollback", id_, "--by", "olga", "--reason", reason)
    assert ended.code == 0
    assert reason in ended.out
    assert "rolled_back" in ratchet(monkeypatch, "canary", "list", "--json").out


def judged(parts: Parts, id_: str) -> None:
    """Put a rollout in canary and let it be judged once."""
    with parts.store.session() as session:
        row = session.get_one(Rollout, id_)
        row.state, row.share = "canary", 0.5
        session.add(row)
        session.commit()
    Conductor(parts.store, parts.log, parts.settings.canary).check(id_)


def test_a_verdict_is_explained_number_by_number(
    monkeypatch: pytest.MonkeyPatch, parts: Parts
) -> None:
    """People see each number and whether it comes out again; scripts all of it, and the status."""
    id_ = ratchet(monkeypatch, "canary", "start", "desk--v1").out.split()[1]
    judged(parts, id_)
    told = ratchet(monkeypatch, "canary", "explain", id_)
    assert told.code == 0, told.err
    named = ("canary is better", "thumbs_down", "arms lack subjects", "the same.", "to decide")
    for said in named:
        assert said in told.out
    plain = ratchet(monkeypatch, "canary", "explain", id_, "--json").json
    assert (plain["same"], plain["verdict"]["rollout_id"]) == (True, id_)
    listed = ratchet(monkeypatch, "canary", "list", "--json").json
    assert listed[0]["forecast"]["says"].startswith("not known")
    with parts.store.session() as session:
        record = session.get_one(VerdictRecord, plain["verdict"]["id"])
        record.reason = "because"
        session.add(record)
        session.commit()
    other = ratchet(monkeypatch, "canary", "explain", record.id)
    assert other.code == 1
    assert "NOT the same" in other.out
    assert "reason: stored 'because'" in other.out


def test_a_canary_is_paused_and_resumed(monkeypatch: pytest.MonkeyPatch, parts: Parts) -> None:
    """By name and with a reason; a rollout that is not paused cannot be resumed."""
    id_ = ratchet(monkeypatch, "canary", "start", "desk--v1").out.split()[1]
    judged(parts, id_)
    words = (id_, "--by", "olga", "--reason", "an incident")
    assert "is now paused (0%" in ratchet(monkeypatch, "canary", "pause", *words).out
    resumed = ratchet(monkeypatch, "canary", "resume", *words, "--json").json
    assert (resumed["state"], resumed["share"], resumed["decided_by"]) == ("canary", 0.5, "olga")
    again = ratchet(monkeypatch, "canary", "resume", *words)
    assert (again.code, "needs one of: paused" in again.err) == (1, True)


def test_a_failed_gate_stops_the_start(monkeypatch: pytest.MonkeyPatch, parts: Parts) -> None:
    """The gate's own reason is told, and an override with a name and a reason lets it pass."""
    refused = ratchet(monkeypatch, "canary", "start", "desk--v2")
    assert refused.code == 1
    assert "loss is up [by 9 %]" in refused.err
    override = ["--override-by", "olga", "--reason", "to see"]
    assert ratchet(monkeypatch, "canary", "start", "desk--v2", *override).code == 0


def test_json_is_all_that_a_script_reads(monkeypatch: pytest.MonkeyPatch, parts: Parts) -> None:
    """With --json each command prints one JSON value on standard output and no more."""
    names = [row["name"] for row in ratchet(monkeypatch, "adapter", "list", "--json").json]
    assert names == ["desk--v1", "desk--v2"]
    id_ = ratchet(monkeypatch, "canary", "start", "desk--v1").out.split()[1]
    assert [row["id"] for row in ratchet(monkeypatch, "canary", "list", "--json").json] == [id_]
    done = ratchet(monkeypatch, "rollback", id_, "--by", "olga", "--reason", "x", "--json")
    assert done.json["state"] == "rolled_back"


def test_the_tables_list_each_adapter(monkeypatch: pytest.MonkeyPatch, parts: Parts) -> None:
    """A person sees name, gate and dataset."""
    shown = ratchet(monkeypatch, "adapter", "list").out
    assert "desk--v1" in shown
    assert "fail" in shown


def test_a_run_that_broke_off_is_listed_with_its_error(
    monkeypatch: pytest.MonkeyPatch, parts: Parts
) -> None:
    """Its id is whole, so that it can be given to `resume`."""
    run = Run(
        id=new_id(),
        application="desk",
        dataset_id="desk--d1",
        recipe="sft-lora",
        mode="full",
        reason="first: no adapter is live",
        status="failed",
        folder="runs/1",
        error="killed [by 9]",
    )
    with parts.store.session() as session:
        session.add(run)
        session.commit()
        id_ = run.id
    shown = ratchet(monkeypatch, "runs").out
    assert id_ in shown
    assert "killed" in shown
    assert [row["status"] for row in ratchet(monkeypatch, "runs", "--json").json] == ["failed"]


def test_a_key_is_made_listed_rotated_and_revoked(
    monkeypatch: pytest.MonkeyPatch, parts: Parts
) -> None:
    """The secret is told once, by the command that made it, and never listed."""
    limit = ["--requests-per-minute", "60"]
    made = ratchet(monkeypatch, "key", "create", "desk", "--scope", "infer", *limit, "--json").json
    assert made["secret"].startswith(f"rk_{made['id']}_")
    fresh = ratchet(monkeypatch, "key", "rotate", made["id"], "--grace", "1h", "--json").json
    assert (fresh["scopes"], fresh["requests_per_minute"]) == (["infer"], 60)
    assert "revoked" in ratchet(monkeypatch, "key", "revoke", fresh["id"]).out
    listed = ratchet(monkeypatch, "key", "list")
    assert made["secret"] not in listed.out
    assert made["id"] in listed.out
    states = {
        row["id"]: row["revoked_at"] for row in ratchet(monkeypatch, "key", "list", "--json").json
    }
    assert states[made["id"]] is None
    assert states[fresh["id"]] is not None


@pytest.mark.parametrize(
    ("command", "named"),
    [
        (["create", "nobody", "--scope", "infer"], "'nobody'"),
        (["create", "desk", "--scope", "root"], "'root'"),
        (["create", "desk", "--scope", "infer", "--expires", "soon"], "'soon'"),
        (["create", "desk", "--scope", "infer", "--concurrent", "0"], "limit of 0"),
        (["rotate", "nothing"], "'nothing'"),
        (["revoke", "nothing"], "'nothing'"),
    ],
)
def test_a_wrong_wish_for_a_key_is_named(
    monkeypatch: pytest.MonkeyPatch, parts: Parts, command: list[str], named: str
) -> None:
    """One line, and no key is made."""
    done = ratchet(monkeypatch, "key", *command)
    assert (done.code, done.out) == (1, "")
    assert named in done.err
    assert ratchet(monkeypatch, "key", "list", "--json").json == []


def test_ingest_once_says_what_it_applied(monkeypatch: pytest.MonkeyPatch, parts: Parts) -> None:
    """An empty log is no error."""
    assert ratchet(monkeypatch, "ingest", "--once").out == "0 records applied\n"


def test_a_gateway_nobody_may_call_is_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without applications `up` and `gateway` say how to add one."""
    for command in ("up", "gateway"):
        done = ratchet(monkeypatch, command)
        assert done.code == 1
        assert "ratchet init" in done.err


def test_up_names_a_port_that_is_taken(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    """Before anything is started; what answers there is not taken for the own gateway."""
    settings = load_settings(write_settings_file(place))
    with socket.create_server(("127.0.0.1", settings.gateway.port)):
        done = ratchet(monkeypatch, "up")
    assert done.code == 1
    assert done.err.startswith(f"error: port {settings.gateway.port} ")
    assert not (place / "data" / "logs").exists()


def test_init_writes_settings_that_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is its owner's alone; the key is not shown; a second init changes nothing."""
    done = ratchet(monkeypatch, "init", "my.desk")
    assert done.code == 0
    file = Path("ratchet.toml")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    key = load_settings().applications["my.desk"].api_key.get_secret_value()
    assert key not in done.out
    text = file.read_text()
    again = ratchet(monkeypatch, "init", "other")
    assert again.code == 0
    assert "nothing was changed" in again.out
    assert file.read_text() == text


def test_init_leaves_wrong_settings_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads no settings, so wrong ones neither stop it nor are lost."""
    Path("ratchet.toml").write_text("unknown = 1\n")
    assert ratchet(monkeypatch, "init", "desk").code == 0
    assert Path("ratchet.toml").read_text() == "unknown = 1\n"


def test_init_writes_the_file_that_was_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sets RATCHET_SETTINGS finds the new settings there."""
    monkeypatch.setenv(FILE_VARIABLE, "mine.toml")
    assert ratchet(monkeypatch, "init", "desk").code == 0
    assert list(load_settings().applications) == ["desk"]
    assert not Path("ratchet.toml").exists()


@pytest.mark.parametrize("name", ['a"b', "a b", "", "../x", "base", "desk--v1"])
def test_init_refuses_a_name_that_cannot_be_served(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """What would break the file, a folder or the routing is refused, and no file is written."""
    done = ratchet(monkeypatch, "init", "--", name)
    assert done.code == 1
    assert done.err.startswith("error: ")
    assert not Path("ratchet.toml").exists()


def test_the_doctor_works_where_the_settings_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """It tells the fault as its first finding, and still looks at the rest."""
    Path("ratchet.toml").write_text("unknown = 1\n")
    done = ratchet(monkeypatch, "doctor", "--json")
    assert done.code == 1
    first, *rest = done.json
    assert (first["name"], first["ok"]) == ("settings", False)
    assert "unknown" in first["detail"]
    assert {"python", "model", "gateway"} <= {check["name"] for check in rest}


def test_a_full_disk_or_the_like_is_one_line(monkeypatch: pytest.MonkeyPatch, parts: Parts) -> None:
    """An error of the operating system names its file and shows no trace."""
    id_ = ratchet(monkeypatch, "canary", "start", "desk--v1").out.split()[1]
    (parts.settings.data_dir / "reports").write_text("in the way")
    done = ratchet(monkeypatch, "canary", "report", id_)
    assert (done.code, done.out) == (1, "")
    assert "reports" in done.err
    assert done.err.startswith("error: ")
