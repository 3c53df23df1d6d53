"""The commands on the console: `ratchet console` runs it, `ratchet console user …` says who may in.

Thin, as `loop.cli`. A running console knows a new, changed or removed user within
`gateway.route_refresh_s`.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from core.errors import RequestError
from loop.terminal import AsJson, out, print_json, print_table, settings_of

if TYPE_CHECKING:  # `ratchet --help` answers before it is loaded
    from sqlmodel import Session

console_app = typer.Typer(help="The operators' pages, and who may use them.")
user_app = typer.Typer(no_args_is_help=True, help="People: add, list, password, role, …")
console_app.add_typer(user_app, name="user")

Name = Annotated[str, typer.Argument(help="what the person signs in as")]
Role = Annotated[str, typer.Option("--role", help="viewer, reviewer, operator or admin")]
FromInput = Annotated[
    bool, typer.Option("--password-stdin", help="read the password from standard input")
]
Why = Annotated[str, typer.Option("--reason", help="why; the audit log keeps it")]
PRIVATE = {"password", "oidc_subject"}  # of a row: not shown


@console_app.callback(invoke_without_command=True)
def console(context: typer.Context) -> None:
    """Run the operators' pages; people sign in with a name and password, or with an API key."""
    if context.invoked_subcommand is not None:
        return
    from loop.console.server import run_console
    from loop.service import stopped_by_signals
    from loop.wiring import open_parts

    with (
        open_parts(settings_of(context), "console") as parts,
        stopped_by_signals(threading.Event()) as stop,
    ):
        run_console(parts, stop)


@console_app.command("roll-up")
def roll_up(
    context: typer.Context,
    everything: Annotated[bool, typer.Option("--all", help="every hour anew")] = False,
) -> None:
    """Bring the hourly metrics of the pages up to date; the console does so by itself."""
    from loop.rollup_job import roll_up_metrics
    from loop.wiring import open_parts

    with open_parts(settings_of(context)) as parts:
        told = roll_up_metrics(parts, everything=everything)
    out.print(told, highlight=False)


@user_app.command("add")
def user_add(
    context: typer.Context,
    name: Name,
    role: Role,
    from_input: FromInput = False,
    as_json: AsJson = False,
) -> None:
    """Add somebody who signs in with a password."""
    from loop.console.users import add_user

    with _changing(context) as (session, by):
        user = add_user(session, name, role, _password(from_input), by=by)
    if as_json:
        print_json(user.model_dump(mode="json", exclude=PRIVATE))
        return
    out.print(f"{name} may sign in as {user.role}", highlight=False)


@user_app.command("list")
def user_list(context: typer.Context, as_json: AsJson = False) -> None:
    """List the people who may sign in."""
    from loop.console.users import list_users
    from loop.wiring import open_parts

    with open_parts(settings_of(context)) as parts, parts.store.session() as session:
        users = list_users(session)
    if as_json:
        print_json([user.model_dump(mode="json", exclude=PRIVATE) for user in users])
        return
    print_table(
        ("user", "role", "signs in by", "changed"),
        [
            (
                *(user.name, "disabled" if user.disabled_at else user.role),
                "password" if user.password else "OpenID Connect",
                f"{user.changed_at:%Y-%m-%d %H:%M}",
            )
            for user in users
        ],
    )


@user_app.command("password")
def user_password(context: typer.Context, name: Name, from_input: FromInput = False) -> None:
    """Change somebody's password; their sessions end."""
    from loop.console.users import find_user, set_password

    with _changing(context) as (session, by):
        find_user(session, name)  # before anything is asked
        set_password(session, name, _password(from_input), by=by)
    out.print(f"{name} has a new password, and is signed out", highlight=False)


@user_app.command("role")
def user_role(
    context: typer.Context,
    name: Name,
    role: Annotated[str, typer.Argument(help="viewer, reviewer, operator or admin")],
) -> None:
    """Change what somebody may do."""
    from loop.console.users import set_role

    with _changing(context) as (session, by):
        user = set_role(session, name, role, by=by)
    out.print(f"{name} is {user.role} now", highlight=False)


@user_app.command("disable")
def user_disable(context: typer.Context, name: Name, reason: Why = "") -> None:
    """Keep somebody out until they are enabled; their sessions end, their name stays theirs."""
    from loop.console.users import disable_user

    with _changing(context) as (session, by):
        disable_user(session, name, reason, by=by)
    out.print(f"{name} is disabled", highlight=False)


@user_app.command("enable")
def user_enable(context: typer.Context, name: Name, reason: Why = "") -> None:
    """Let somebody in again."""
    from loop.console.users import enable_user

    with _changing(context) as (session, by):
        enable_user(session, name, reason, by=by)
    out.print(f"{name} may sign in again", highlight=False)


@user_app.command("remove")
def user_remove(context: typer.Context, name: Name) -> None:
    """Remove somebody; their sessions end. What they did stays in the audit log."""
    from loop.console.users import remove_user

    with _changing(context) as (session, by):
        remove_user(session, name, by=by)
    out.print(f"{name} is removed", highlight=False)


@contextmanager
def _changing(context: typer.Context) -> Generator[tuple[Session, str]]:
    """Give a session whose changes are kept in the end, and who makes them."""
    from feedback.audit import machine_user
    from loop.wiring import open_parts

    with open_parts(settings_of(context)) as parts, parts.store.session() as session:
        yield session, machine_user()
        session.commit()


def _password(from_input: bool) -> str:
    """Return the password that was typed twice, or that came in by standard input.

    Raises: RequestError when it is neither.
    """
    if from_input:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise RequestError(
            "there is nobody to type a password: send it with --password-stdin", field="password"
        )
    return typer.prompt("Password", hide_input=True, confirmation_prompt=True)
