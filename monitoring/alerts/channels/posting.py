"""Posts JSON over HTTP for the channels that do: no redirects, a timeout, errors without addresses.

An address may itself be a secret (Slack's are), so no message names more than its host. Knows
nothing of alerts.
"""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from monitoring.alerts.channels.protocol import NotToldError


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A signed body goes where the settings say, and nowhere else."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        """Follow nothing; the answer stays an error."""


@dataclass(frozen=True, slots=True)
class Poster:
    """Posts within `timeout_s`, by `proxy` if there is one; the environment's are not used."""

    timeout_s: float
    proxy: str | None = None

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> None:
        """Return once the other side has answered 2xx. Raises: NotToldError."""
        proxies = {"http": self.proxy, "https": self.proxy} if self.proxy else {}
        opener = urllib.request.build_opener(urllib.request.ProxyHandler(proxies), _NoRedirects())
        fields = {"content-type": "application/json", "user-agent": "ratchet", **headers}
        request = urllib.request.Request(url, body, fields, method="POST")
        host = urlsplit(url).hostname
        try:
            with opener.open(request, timeout=self.timeout_s) as answer:
                answer.read(1)
        except urllib.error.HTTPError as error:
            with error:
                after = error.headers.get("retry-after", "")
            retry_after_s = float(after) if after.isdigit() else None
            raise NotToldError(f"{host} answered HTTP {error.code}", retry_after_s) from None
        except urllib.error.URLError as error:
            reason = error.reason
            told = reason.strerror if isinstance(reason, OSError) else None
            raise NotToldError(f"{host}: {told or type(reason).__name__}") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise NotToldError(f"{host}: {type(error).__name__}") from None
