"""The commands on API keys: `ratchet key create|list|rotate|revoke`.

Thin, as `loop.cli`. A secret is printed once, by the command that made it; a running gateway knows
a new or revoked key within `gateway.route_refresh_s`.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from core.errors import NotFoundError
from loop.durations import duration
from loop.terminal import (
    Application,
    AsJson,
    out,
    print_json,
    print_row,
    print_table,
    settings_of,
)

if TYPE_CHECKING:  # `ratchet --help` answers before these are loaded
    from sqlmodel import Session

    from feedback.tables import ApiKey

key_app = typer.Typer(no_args_is_help=True, help="API keys: create, list, rotate, revoke.")

KeyId = Annotated[str, typer.Argument(help="a key's id, as `ratchet key list` shows it")]
PerMinute = Annotated[int | None, typer.Option(help="limit; default: the application's")]


@key_app.command("create")
def key_create(
    context: typer.Context,
    application: Application,
    scope: Annotated[
        list[str], typer.Option(help="infer, feedback, review, ops or admin; may be repeated")
    ],
    name: Annotated[str, typer.Option(help="for people: where the key is used")] = "",
    expires: Annotated[str | None, typer.Option(help="valid for so long: 90d, 12h")] = None,
    requests_per_minute: PerMinute = None,
    tokens_per_minute: PerMinute = None,
    concurrent: Annotated[int | None, typer.Option(help="requests at once")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key for an application; its secret is shown once."""
    from core.clock import utc_now
    from feedback.api_keys import KeyLimits
    from feedback.key_store import KeyWish, create_key
    from loop.wiring import open_parts

    settings = settings_of(context)
    if application not in settings.applications:
        known = ", ".join(sorted(settings.applications)) or "none"
        raise NotFoundError(f"no application {application!r}; the settings name: {known}")
    limits = KeyLimits(requests_per_minute, tokens_per_minute, concurrent)
    ends = None if expires is None else utc_now() + duration(expires, "expires")
    with open_parts(settings) as parts, parts.store.session() as session:
        row, secret = create_key(session, KeyWish(application, scope, name, limits, ends))
        _keep(session, "key_created", row)
        session.commit()
        _show_new(row, secret, as_json)


@key_app.command("list")
def key_list(
    context: typer.Context,
    application: Annotated[str | None, typer.Argument(help="of this application only")] = None,
    as_json: AsJson = False,
) -> None:
    """List the keys that were made, without their secrets; those of the settings are not shown."""
    from core.clock import utc_now
    from feedback.key_store import key_state, list_keys
    from loop.wiring import open_parts

    with open_parts(settings_of(context)) as parts, parts.store.session() as session:
        rows = list_keys(session, application)
    if as_json:
        print_json([row.model_dump(mode="json", exclude={"digest"}) for row in rows])
        return
    now = utc_now()
    print_table(
        ("key", "application", "name", "scopes", "state", "expires"),
        [
            (
                *(row.id, row.application, row.name, ", ".join(row.scopes)),
                *(key_state(row, now), _shown(row.expires_at)),
            )
            for row in rows
        ],
    )


@key_app.command("rotate")
def key_rotate(
    context: typer.Context,
    key: KeyId,
    grace: Annotated[str, typer.Option(help="the old key stays valid for so long")] = "24h",
    as_json: AsJson = False,
) -> None:
    """Make a key that does the same; the old one ends after the grace."""
    from feedback.key_store import rotate_key
    from loop.wiring import open_parts

    with open_parts(settings_of(context)) as parts, parts.store.session() as session:
        row, secret = rotate_key(session, key, duration(grace, "grace"))
        _keep(session, "key_rotated", row)
        session.commit()
        _show_new(row, secret, as_json)


@key_app.command("revoke")
def key_revoke(context: typer.Context, key: KeyId, as_json: AsJson = False) -> None:
    """End a key now."""
    from feedback.key_store import revoke_key
    from loop.wiring import open_parts

    with open_parts(settings_of(context)) as parts, parts.store.session() as session:
        row = revoke_key(session, key)
        _keep(session, "key_revoked", row)
        session.commit()
        if as_json:
            print_row(row)
            return
        out.print(f"key {row.id} of {row.application} is revoked", highlight=False)


def _keep(session: Session, action: str, row: ApiKey) -> None:
    from feedback.audit import HumanAct, machine_user, record

    details = {"scopes": row.scopes, "name": row.name}
    record(session, HumanAct(machine_user(), action, "key", row.id, row.application, "", details))


def _show_new(row: ApiKey, secret: str, as_json: bool) -> None:
    if as_json:
        print_json(row.model_dump(mode="json", exclude={"digest"}) | {"secret": secret})
        return
    out.print(f"key {row.id} of {row.application}, scopes {', '.join(row.scopes)}", highlight=False)
    out.print(f"[bold]{secret}[/]", highlight=False, soft_wrap=True)
    out.print("It is shown this once: only its hash is kept.", highlight=False)


def _shown(instant: datetime | None) -> str:
    return "never" if instant is None else f"{instant:%Y-%m-%d %H:%M}"
