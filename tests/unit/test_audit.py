"""What people do by commands is in the audit log, or the command changes nothing of the store."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

from sqlmodel import select
from typer.main import get_command
from typer.testing import CliRunner

from feedback.audit import actor_named
from feedback.console_tables import AuditEntry
from feedback.store import Store
from loop.cli import app

KEPT_BELOW = {  # command: what it calls keeps the act, and its own test says so
    "promote": "the conductor",
    "rollback": "the conductor",
    "canary pause": "the conductor",
    "canary resume": "the conductor",
    "console user add": "loop.console.users",
    "console user password": "loop.console.users",
    "console user role": "loop.console.users",
    "console user remove": "loop.console.users",
    "console user disable": "loop.console.users",
    "console user enable": "loop.console.users",
    "key create": "its _keep",
    "key rotate": "its _keep",
    "key revoke": "its _keep",
    "review decide": "curation.review.decisions",
    "review next": "curation.review.decisions",
    "review import": "curation.review.decisions",
}
CHANGES_NOTHING = {  # it reads, runs a process of the service, writes files, or sets up
    *("init", "up", "engine", "gateway", "ingest", "relay", "scheduler", "doctor", "demo"),
    *("policy", "advise", "estimate", "merge", "console", "console roll-up"),
    *("console user list", "canary list", "canary explain", "canary run", "canary report"),
    *("incidents list", "incidents show", "incidents silences", "incidents rules"),
    *("incidents metrics", "jobs list", "key list", "adapter list", "adapter show"),
    *("adapter diff", "adapter verify", "adapter key", "cost ownership", "cost prices"),
    *("cost training", "cost runs", "dataset list", "dataset show", "dataset diff"),
    *("dataset export", "dataset verify", "gate suites", "gate show", "drift list"),
    *("drift show", "launch pack", "launch spec", "launch collect", "launch hosted"),
    *("runs report", "runs list", "runs show", "runs log", "search list", "search show"),
    *("review export", "review list", "review release", "review progress", "review agreement"),
    *("review compare", "spool status", "spool drain", "db upgrade", "db downgrade", "db check"),
    *("dead-letter list", "dead-letter show", "subject export", "subject erasures"),
    *("drift windows", "drift check"),
}


def commands(group: object, before: str = "") -> Iterator[tuple[str, str]]:
    """Yield each command with the source of its function."""
    for name, command in getattr(group, "commands", {}).items():
        path = f"{before} {name}".strip()
        if getattr(command, "commands", None):
            yield from commands(command, path)
        else:
            yield path, inspect.getsource(inspect.unwrap(command.callback))


def test_a_command_is_kept_or_changes_nothing() -> None:
    """A new one must say which."""
    told = dict(commands(get_command(app)))
    keeping = {
        name for name, source in told.items() if "keep_act(" in source or "HumanAct(" in source
    }
    known = keeping | KEPT_BELOW.keys() | CHANGES_NOTHING
    assert sorted(told.keys() - known) == []
    assert sorted(keeping & CHANGES_NOTHING) == []
    assert sorted((KEPT_BELOW.keys() | CHANGES_NOTHING) - told.keys() - {"console"}) == []


def test_a_command_keeps_who_runs_it(tmp_path: Path) -> None:
    """With what it did, in the same store."""
    file = tmp_path / "ratchet.toml"
    file.write_text(
        f'data_dir = "{tmp_path / "data"}"\n[applications.shop]\napi_key = "shop-key"\n'
    )
    runner = CliRunner()
    for command in (["db", "upgrade"], ["db", "retention"], ["jobs", "run", "retain"]):
        done = runner.invoke(app, ["--settings", str(file), *command])
        assert done.exit_code == 0, done.output
    store = Store(f"sqlite:///{tmp_path / 'data' / 'store.db'}")
    with store.session() as session:
        acts = session.exec(select(AuditEntry).order_by(AuditEntry.id)).all()
    store.close()
    assert [(act.action, act.subject) for act in acts] == [
        *(("old_data_deleted", "retention"), ("job_wanted", "retain"))
    ]
    assert all(act.actor.endswith("(command line)") for act in acts)


def test_a_key_is_told_from_a_person() -> None:
    """Reviews are kept under the name of either."""
    assert (actor_named("0123456789ab"), actor_named("ann")) == ("key 0123456789ab", "ann")
