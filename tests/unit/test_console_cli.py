"""`ratchet console user …`: who may sign in, by the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from core.errors import RatchetError
from loop.cli import app

PASSWORD = "correct horse battery"


def run(folder: Path, *arguments: str, typed: str = "") -> Result:
    """Run the command on a settings file of its own."""
    file = folder / "ratchet.toml"
    file.write_text(f'data_dir = "{folder}"\n[applications.shop]\napi_key = "shop-key"\n')
    return CliRunner().invoke(app, ["--settings", str(file), *arguments], input=typed)


def test_a_user_is_added_changed_listed_and_removed(tmp_path: Path) -> None:
    """The password comes by standard input, and is shown by nothing."""
    user = ("console", "user")
    added = run(
        *(tmp_path, *user, "add", "ann", "--role", "viewer", "--password-stdin"),
        typed=f"{PASSWORD}\n",
    )
    assert added.output.endswith("ann may sign in as viewer\n")
    assert run(tmp_path, *user, "role", "ann", "admin").output == "ann is admin now\n"
    typed = f"another {PASSWORD}\n"
    assert run(tmp_path, *user, "password", "ann", "--password-stdin", typed=typed).exit_code == 0
    [row] = json.loads(run(tmp_path, *user, "list", "--json").stdout)
    assert (row["name"], row["role"], "password" in row) == ("ann", "admin", False)
    assert "ann" in run(tmp_path, *user, "list").output
    assert run(tmp_path, *user, "remove", "ann").output == "ann is removed\n"
    assert json.loads(run(tmp_path, *user, "list", "--json").stdout) == []


def test_without_a_terminal_a_password_must_be_sent(tmp_path: Path) -> None:
    """And what is wrong is one message."""
    refused = run(tmp_path, "console", "user", "add", "ann", "--role", "viewer")
    assert isinstance(refused.exception, RatchetError)
    assert "--password-stdin" in refused.exception.message
    with pytest.raises(RatchetError, match="no user 'bob'"):
        raise run(tmp_path, "console", "user", "remove", "bob").exception or AssertionError
