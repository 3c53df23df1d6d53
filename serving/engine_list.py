"""SERVE: which engines there are: the one started here, those in the settings, or Kubernetes'.

Settings go in; out come base URLs, which stay as they are when Kubernetes cannot be asked. Knows
nothing of whether the engines work.
"""

from __future__ import annotations

import structlog

from core.errors import RatchetError
from core.settings import EngineSettings
from serving.kubernetes import KubernetesService, read_endpoints

_log = structlog.get_logger(__name__)


class EngineList:
    """The engines' URLs as they were last found."""

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._service = (
            KubernetesService.parse(settings.kubernetes_service)
            if settings.kubernetes_service
            else None
        )
        fixed = settings.replicas or (() if self._service else (settings.url,))
        self._fixed = fixed
        self.urls: tuple[str, ...] = fixed

    @property
    def changes(self) -> bool:
        """Whether `refresh` can find other engines than before."""
        return self._service is not None

    async def refresh(self) -> None:
        """Ask Kubernetes, where it is to be asked; a fault leaves the list as it is."""
        if self._service is None:
            return
        try:
            found = await read_endpoints(
                self._service, self._settings.kubernetes_url, self._settings.kubernetes_account
            )
        except RatchetError as error:
            _log.error("engine_discovery_failed", error=error.message, kept=len(self.urls))
            return
        urls = tuple(dict.fromkeys((*self._fixed, *found)))
        if urls != self.urls:
            _log.info("engines_found", engines=urls)
        self.urls = urls
