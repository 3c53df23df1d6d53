"""A console of two applications, and a browser without JavaScript before it."""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from litestar import Litestar
from litestar.testing import TestClient
from pydantic import SecretStr
from sqlmodel import col, select

from core.console_settings import OidcSettings
from core.keys import Keys
from core.settings import (
    ApplicationSettings,
    ConsoleSettings,
    FeedbackSettings,
    GatewaySettings,
    Settings,
)
from feedback.console_tables import AuditEntry
from feedback.key_store import KeyWish, create_key, list_keys
from feedback.store import Store
from feedback.tables import ApiKey
from loop.console.app import create_console
from loop.console.users import add_user
from loop.wiring import Parts
from tests.fakes.memory_log import MemoryLog, MemorySource
from tests.ready_store import ready_store

PASSWORD = "correct horse battery"
KEYS = Keys(receipt=(b"r",), subject=b"s")


@dataclass
class Console:
    """The app, a browser without JavaScript, and the store behind it."""

    client: TestClient[Litestar]
    store: Store

    def key(self, *scopes: str, application: str = "desk") -> str:
        """Return a new key's secret that the console knows."""
        with self.store.session() as session:
            row, secret = create_key(session, KeyWish(application, scopes, "by a test"))
            session.commit()
        self.client.app.state.callers.refresh()
        assert row.id
        return secret

    def sign_in(self, *scopes: str, application: str = "desk") -> httpx.Response:
        """Sign in with a new key."""
        return self.send("/login", on="/login", key=self.key(*scopes, application=application))

    def user(self, name: str, role: str) -> str:
        """Add a person; return their password."""
        with self.store.session() as session:
            add_user(session, name, role, PASSWORD, by="a test")
            session.commit()
        self.client.app.state.users.refresh()
        return PASSWORD

    def enter(self, name: str, role: str) -> httpx.Response:
        """Sign in as a new person."""
        password = self.user(name, role)
        return self.send("/login", on="/login", name=name, password=password)

    def acts(self) -> list[AuditEntry]:
        """Return the audit log, the oldest first."""
        with self.store.session() as session:
            return list(session.exec(select(AuditEntry).order_by(col(AuditEntry.id))))

    def token(self, on: str) -> str:
        """Return the token of the form on a page."""
        token = re.search(r'name="_csrf_token" value="([^"]+)"', self.client.get(on).text)
        assert token is not None, f"{on} has no form"
        return token[1]

    def send(self, path: str, /, on: str, **fields: Any) -> httpx.Response:
        """Fill in the form on a page and send it; redirects are followed."""
        return self.client.post(path, data={"_csrf_token": self.token(on), **fields})

    def rows(self) -> list[ApiKey]:
        """Return all keys."""
        with self.store.session() as session:
            return list_keys(session)


@contextmanager
def opened(
    folder: Path,
    https: bool | None = None,
    proxies: tuple[str, ...] = (),
    oidc: OidcSettings | None = None,
) -> Generator[Console]:
    """Give a console of two applications."""
    settings = Settings(
        data_dir=folder,
        applications={
            "desk": ApplicationSettings(api_key=SecretStr("desk-key")),
            "shop": ApplicationSettings(api_key=SecretStr("shop-key")),
        },
        gateway=GatewaySettings(route_refresh_s=0.05),
        console=ConsoleSettings(https=https, oidc=oidc or OidcSettings()),
        feedback=FeedbackSettings(trusted_proxies=proxies),
    )
    store = ready_store(settings.store_address)
    log = MemoryLog()
    app = create_console(Parts(settings, store, log, MemorySource(log), KEYS))
    with TestClient(app) as client:
        yield Console(client, store)
    store.close()


def secret_on(page: str) -> str:
    """Return the secret that a page shows."""
    found = re.search(r'id="secret">([^<]+)<', page)
    assert found is not None, page
    return found[1]
