"""Which web pages may call for an application: CORS by its settings, pure.

A browser says where a page came from in `Origin`; a server sends none. The answer to a preflight
cannot know the application, so it allows every origin that some application allows, and each
request is then held to its own application's.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from core.errors import PermissionDeniedError
from core.settings import Settings

ANY = "*"


def all_origins(settings: Settings) -> list[str]:
    """Return the origins that some application allows, each once."""
    own = (origin for app in settings.applications.values() for origin in app.allowed_origins)
    return list(dict.fromkeys((*settings.gateway.allowed_origins, *own)))


def require_origin(headers: Mapping[str, str], application: str, settings: Settings) -> None:
    """Return if no page sent this, or one that `application` allows, or our own.

    Raises: PermissionDeniedError.
    """
    origin = headers.get("origin")
    if origin is None or urlsplit(origin).netloc == headers.get("host"):
        return
    own = settings.applications[application].allowed_origins
    allowed = {*settings.gateway.allowed_origins, *own}
    if ANY not in allowed and origin not in allowed:
        raise PermissionDeniedError(
            f"pages from {origin} may not call for {application}: "
            f"add it to applications.{application}.allowed_origins",
            field="origin",
        )
