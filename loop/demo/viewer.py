"""Somebody who watches the demo on the console: signs in as people do, and looks at its pages.

A running console goes in, what its pages answered comes out: how soon, and whether they name what
was looked for. Knows the console by HTTP alone.
"""

from __future__ import annotations

import re
import secrets
import time
from dataclasses import dataclass, field

import httpx

from core.errors import StateError
from feedback.store import Store
from loop.console.users import add_user

NAME = "demo"
PATIENCE_S = 30.0  # for a page, while a training has both cores
FORM_TOKEN = re.compile(r'name="_csrf_token" value="([^"]+)"')  # the console's forms carry it


@dataclass
class Viewer:
    """A person at the console; `seen` keeps how many seconds each page took."""

    web: httpx.Client
    password: str
    seen: dict[str, float] = field(default_factory=dict[str, float])

    def look(self, path: str, for_text: str) -> str:
        """Return the address of a page that shows `for_text`. Raises: StateError otherwise."""
        began = time.monotonic()
        page = self.web.get(path)
        self.seen[path] = round(time.monotonic() - began, 3)
        if page.status_code == 303 or page.url.path == "/login":
            self._sign_in()
            page = self.web.get(path)
        if page.status_code != 200 or for_text not in page.text:
            raise StateError(
                f"the console's page {path} ({page.status_code}) does not show {for_text!r}"
            )
        return str(page.url)

    def _sign_in(self) -> None:
        hidden = FORM_TOKEN.search(self.web.get("/login").text)
        form = {"name": NAME, "password": self.password, "_csrf_token": hidden[1] if hidden else ""}
        answer = self.web.post("/login", data=form)
        if answer.status_code != 303:
            raise StateError(f"{NAME} cannot sign in to the console: status {answer.status_code}")


def a_viewer(store: Store, url: str) -> Viewer:
    """Return somebody new who may look at everything and change nothing."""
    password = secrets.token_urlsafe(12)
    with store.session() as session:
        add_user(session, NAME, "viewer", password, by="the demo")
        session.commit()
    return Viewer(httpx.Client(base_url=url, timeout=PATIENCE_S), password)
