"""What the commands of `ratchet` share: the console, the options they have in common, JSON.

Settings are loaded by the command that needs them, not before: `--help`, `init`, `doctor` and
`demo` work without them or with wrong ones. Knows no command.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

if TYPE_CHECKING:  # `ratchet --help` answers before these are loaded
    from sqlmodel import SQLModel

    from core.settings import Settings
    from feedback.store import Store
    from loop.narration import Narrator

Application = Annotated[str, typer.Argument(help="an application of the settings")]
RolloutId = Annotated[str, typer.Argument(help="a rollout, as `ratchet canary list` shows it")]
Operator = Annotated[str, typer.Option("--by", help="who you are")]
Reason = Annotated[str, typer.Option("--reason", help="why; it is kept with the decision")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON for scripts")]
Requester = Annotated[
    str | None, typer.Option("--by", help="train now, whatever the policy says; who you are")
]

Place = tuple[str, str, str | None]

out = Console()


def settings_file(context: typer.Context) -> Path | None:
    """Return the settings file that was named, by option or variable."""
    return context.obj


def settings_of(context: typer.Context) -> Settings:
    """Return the settings, with logs set up as they say.

    Raises: SettingsError.
    """
    from core.errors import SettingsError
    from core.logs import configure_logs
    from core.settings import DEFAULT_FILE, load_settings

    file = settings_file(context)
    try:
        loaded = load_settings(file)
    except OSError as error:
        name = file or DEFAULT_FILE
        raise SettingsError(
            f"cannot read {name}: {error.strerror}; give this user access"
        ) from None
    configure_logs(log_format=loaded.log_format, level=loaded.log_level)
    return loaded


def require_words(**options: str | None) -> None:
    """Return if no option was given as an empty string: what is kept must say something.

    Raises: RequestError.
    """
    from core.errors import RequestError

    for name, value in options.items():
        if value is not None and not value.strip():
            raise RequestError(f"--{name} is empty: it is kept with the decision", field=name)


def keep_act(store: Store, action: str, place: Place, *, by: str | None, **details: object) -> None:
    """Keep in the audit log what was done by a command; `by`: None is who runs this process.

    `place` is the kind of what it was done to, its id and its application.
    """
    from feedback.audit import HumanAct, keep, machine_user

    keep(store, HumanAct(by or machine_user(), action, *place, details=details))


def narrator_for(as_json: bool) -> Narrator:
    """Return who tells what happens; standard output stays JSON alone where a script reads."""
    from loop.narration import Narrator

    return Narrator(Console(stderr=True) if as_json else out)


def print_table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Print plain texts as a table; the first column, by which rows are asked for, stays whole."""
    from rich.text import Text

    first, *rest = head
    table = Table(Column(first, no_wrap=True), *(Column(name, overflow="fold") for name in rest))
    for row in rows:
        table.add_row(*map(Text, row))
    out.print(table)


def print_row(row: SQLModel) -> None:
    """Print a row of the store as JSON."""
    print_json(row.model_dump(mode="json"))


def print_json(value: object) -> None:
    """Print a plain value as indented JSON."""
    import msgspec

    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value)).decode() + "\n")
