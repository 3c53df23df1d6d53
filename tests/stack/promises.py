"""People who ask and rate at a steady rate, and what the gateway promised them.

An answer that came whole, and a feedback that got 201, are promises: each must be in the store,
once, and of a person's votes the last one must count. What failed was not promised; of a vote
that was sent and never acknowledged nobody knows, so it may count or not.
"""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from collections import Counter, defaultdict
from copy import deepcopy
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import aiohttp
from sqlmodel import select

from feedback.store import Store
from feedback.tables import Feedback, Interaction

APPLICATION = "shop"
API_KEY = "shop-key"
TIMEOUT_S = 15.0
RETRY_FOR_S = 45.0  # as long as a gateway may be away
RETRY_EVERY_S = 0.1
STREAMED, RATED, RATED_AGAIN = 0.3, 0.5, 0.4  # shares


@dataclass
class Vote:
    """One thumb that was sent; its value is known by the end user's page too."""

    client_id: str
    value: bool
    acknowledged: bool = False


@dataclass
class Promises:
    """What was acknowledged, and what else happened."""

    interactions: list[str] = field(default_factory=list[str])
    votes: dict[str, list[Vote]] = field(default_factory=lambda: defaultdict(list[Vote]))
    statuses: Counter[str] = field(default_factory=Counter[str])

    def copy(self) -> Promises:
        """Return what has been promised until now."""
        with _lock:
            return deepcopy(self)


_lock = threading.Lock()  # what is promised changes in the load's thread


def broken(promises: Promises, store: Store) -> list[str]:
    """Return which promises the store does not keep, in words."""
    with store.session() as session:
        stored = Counter(session.exec(select(Interaction.id)).all())
        rows = session.exec(select(Feedback)).all()
    votes: dict[str, list[Feedback]] = defaultdict(list)
    for row in rows:
        votes[row.interaction_id].append(row)
    faults = [
        f"interaction {name} is stored {stored[name]} times"
        for name in promises.interactions
        if stored[name] != 1
    ]
    for name, sent in promises.votes.items():
        faults += [f"interaction {name}: {fault}" for fault in _faults(sent, votes[name])]
    return faults


def _faults(sent: list[Vote], rows: list[Feedback]) -> list[str]:
    stored = Counter(row.client_id for row in rows)
    values = {row.client_id: row.thumbs for row in rows}
    promised = [vote for vote in sent if vote.acknowledged]
    faults = [
        f"vote {vote.client_id} is stored {stored[vote.client_id]} times"
        for vote in promised
        if stored[vote.client_id] != 1
    ]
    faults += [
        f"vote {vote.client_id} is {values[vote.client_id]}, not {vote.value}"
        for vote in promised
        if vote.client_id in values and values[vote.client_id] != vote.value
    ]
    if promised and not faults:
        last = max(number for number, vote in enumerate(sent) if vote.acknowledged)
        may_count = {vote.client_id for vote in sent[last:]}
        counting = [row.client_id for row in rows if row.effective]
        if len(counting) != 1 or counting[0] not in may_count:
            faults.append(f"{counting} count, and not one of {sorted(may_count)}")
    return faults


class Load:
    """Open load in a thread of its own: requests leave on time, whatever became of others."""

    def __init__(self, url: str, rate_per_s: float, seed: int) -> None:
        self.promises = Promises()
        self._url = url
        self._pause_s = 1.0 / rate_per_s
        self._chance = random.Random(seed)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="load")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end()

    def end(self) -> None:
        """Send nothing new; return when everyone has been answered or has given up."""
        self._ending.set()
        self._thread.join()

    async def _run(self) -> None:
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
            people: set[asyncio.Task[None]] = set()
            due_s, number = time.monotonic(), 0
            while not self._ending.is_set():
                person = asyncio.create_task(self._person(session, number))
                people.add(person)
                person.add_done_callback(people.discard)
                due_s, number = due_s + self._pause_s, number + 1
                await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            await asyncio.gather(*people)

    async def _person(self, session: aiohttp.ClientSession, number: int) -> None:
        """Ask once, and rate the answer or not."""
        told = await self._ask(session, number, streamed=self._chance.random() < STREAMED)
        if told is None:
            return
        with _lock:
            self.promises.interactions.append(told["interaction"])
        if self._chance.random() >= RATED:
            return
        value = self._chance.random() < 0.7
        if await self._vote(session, told, value) and self._chance.random() < RATED_AGAIN:
            await self._vote(session, told, not value)

    async def _ask(
        self, session: aiohttp.ClientSession, number: int, *, streamed: bool
    ) -> dict[str, str] | None:
        """Return what came under `ratchet` with an answer that came whole."""
        body: dict[str, Any] = {
            "model": APPLICATION,
            "messages": [{"role": "user", "content": f"Question {number}: where is my parcel?"}],
            "user": f"user-{number}",
            "stream": streamed,
        }
        headers = {"authorization": f"Bearer {API_KEY}"}
        try:
            async with session.post(
                f"{self._url}/v1/chat/completions", json=body, headers=headers
            ) as answer:
                text = await answer.text()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._count(type(error).__name__)
            return None
        self._count(f"asked {answer.status}")
        if answer.status != 200:
            return None
        return _of_stream(text) if streamed else json.loads(text)["ratchet"]

    async def _vote(
        self, session: aiohttp.ClientSession, told: dict[str, str], value: bool
    ) -> bool:
        """Send a thumb, again and again under one id, until it is acknowledged."""
        with _lock:
            votes = self.promises.votes[told["interaction"]]
            vote = Vote(f"vote-{len(votes)}-{value}", value)
            votes.append(vote)
        body = {
            "receipt": told["receipt"],
            "kind": "thumbs",
            "value": value,
            "id": vote.client_id,
        }
        give_up_at = time.monotonic() + RETRY_FOR_S
        while time.monotonic() < give_up_at:
            try:
                async with session.post(f"{self._url}/v1/feedback", json=body) as answer:
                    await answer.read()
                self._count(f"rated {answer.status}")
                if answer.status == 201:
                    with _lock:
                        vote.acknowledged = True
                    return True
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                self._count(f"vote {type(error).__name__}")
            await asyncio.sleep(RETRY_EVERY_S)
        return False

    def _count(self, what: str) -> None:
        with _lock:
            self.promises.statuses[what] += 1


def _of_stream(text: str) -> dict[str, str] | None:
    """Return what the last chunk carries, if the stream came to its end."""
    events = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data")]
    if not events or events[-1] != "[DONE]":
        return None
    for event in reversed(events[:-1]):
        if "ratchet" in (chunk := json.loads(event)):
            return chunk["ratchet"]
    return None
