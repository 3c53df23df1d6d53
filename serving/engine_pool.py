"""SERVE: all engines as one: which are there, which work, and which answers a request.

A request's body and its key go in; out comes the answer of one engine, of another where the
first did not take the request (then no byte of an answer exists). Engines are looked at in the
background; one that fails several times in a row is left out until it answers again. When all
are out, all are tried. Knows nothing of arms or the log; the choice is `serving.engine_choice`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

import structlog

from core.settings import EngineSettings
from serving.engine_choice import HealthRules, check_pause_s, choose_engine, is_ejected
from serving.engine_client import (
    EngineAnswer,
    EngineBusy,
    EngineClient,
    EngineRequest,
    ModelMissing,
    NotConnected,
)
from serving.engine_list import EngineList

_log = structlog.get_logger(__name__)


class _Member:
    """One engine: its open client, its requests in flight and its failures in a row."""

    def __init__(self, client: EngineClient) -> None:
        self.client = client
        self.in_flight = 0
        self.failures = 0
        self.watch: asyncio.Task[None] | None = None

    def release(self) -> None:
        """Note that a request has ended."""
        self.in_flight -= 1


class EnginePool:
    """The engines of `engines`; use it in an `async with` block."""

    def __init__(self, engines: EngineList, settings: EngineSettings) -> None:
        self._engines = engines
        self._settings = settings
        self._rules = HealthRules(
            settings.check_every_s, settings.eject_after, settings.longest_ejection_s
        )
        self._members: dict[str, _Member] = {}
        self._leaving: list[_Member] = []
        self._following: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._engines.refresh()
        await self._adjust()
        if self._engines.changes:
            self._following = asyncio.create_task(self._follow())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        members = [*self._members.values(), *self._leaving]
        tasks = [m.watch for m in members if m.watch] + [t for t in [self._following] if t]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        async with AsyncExitStack() as closing:
            for member in members:
                closing.push_async_exit(member.client)
        self._members.clear()
        self._leaving.clear()

    def usable(self, having: Collection[str] | None = None) -> list[str]:
        """Return the engines that may be asked now, of those in `having` (None: of all)."""
        members = self._members
        urls = [url for url, m in members.items() if not is_ejected(m.failures, self._rules)]
        if not urls:  # a check that is wrong about all of them must not end the service
            urls = list(members)
        return urls if having is None else [url for url in urls if url in having]

    def in_flight(self, url: str) -> int:
        """Return how many requests the engine is working on for this gateway."""
        return self._members[url].in_flight

    async def is_healthy(self) -> bool:
        """Return whether any engine says, now, that it works."""
        clients = [member.client for member in self._members.values()]
        return any(await asyncio.gather(*[client.is_healthy() for client in clients]))

    async def open(
        self, engines: Collection[str], key: bytes, request: EngineRequest
    ) -> EngineAnswer:
        """Return the answer of one of `engines`, begun; close it.

        The next one is asked, each at most once, where the first one did not take the request.

        Raises: what `EngineClient.open` raises, of the last one that was asked; NotConnected
            when there is none.
        """
        left = {url: self._members[url].in_flight for url in engines if url in self._members}
        fault: NotConnected | EngineBusy | ModelMissing | None = None
        while left:
            url = choose_engine(left, key, self._settings.load_factor)
            del left[url]
            try:
                return await self._open_on(self._members[url], request)
            except (NotConnected, EngineBusy, ModelMissing) as error:
                fault = error
                if left:
                    _log.warning("engine_passed_over", engine=url, error=error.message)
            left = {other: load for other, load in left.items() if other in self._members}
        raise fault or NotConnected("there is no engine: see engine.replicas, or `ratchet doctor`")

    async def _open_on(self, member: _Member, request: EngineRequest) -> EngineAnswer:
        member.in_flight += 1
        try:
            return await member.client.open(request, on_close=member.release)
        except BaseException as error:
            member.release()
            if isinstance(error, NotConnected) and not is_ejected(member.failures, self._rules):
                self._note(member, healthy=False)
            raise

    def _note(self, member: _Member, *, healthy: bool) -> None:
        """Take in one look, or a refused connection; an answer says nothing: sick ones may come."""
        was_out = is_ejected(member.failures, self._rules)
        member.failures = 0 if healthy else member.failures + 1
        if is_ejected(member.failures, self._rules) != was_out:
            report = _log.info if healthy else _log.error
            report("engine_returned" if healthy else "engine_ejected", engine=member.client.url)

    async def _watch(self, member: _Member) -> None:
        """Look at one engine again and again."""
        while True:
            await asyncio.sleep(check_pause_s(member.failures, self._rules))
            self._note(member, healthy=await member.client.is_healthy())

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self._settings.discover_every_s)
            await self._engines.refresh()
            await self._adjust()

    async def _adjust(self) -> None:
        """Make the members those of the list; one that leaves may finish its answers."""
        for url in [url for url in self._members if url not in self._engines.urls]:
            member = self._members.pop(url)
            if member.watch is not None:
                member.watch.cancel()
            self._leaving.append(member)
        for url in self._engines.urls:
            if url not in self._members:
                client = EngineClient(url)
                member = _Member(await client.__aenter__())
                member.watch = asyncio.create_task(self._watch(member))
                self._members[url] = member
        for member in [member for member in self._leaving if member.in_flight == 0]:
            self._leaving.remove(member)
            await member.client.__aexit__(None, None, None)
