"""The crowd of the demo: simulated people who ask, rate and edit through the public API alone.

A process of its own. In comes the gateway's address, a key and the desk's hidden truth; out go
questions by the official OpenAI client, feedback by plain HTTP, one JSON line per interaction
and a summary line. It knows nothing of Ratchet's inside: what it learns of an answer (receipt,
adapter) it reads from the answer. Run it by `python -m loop.demo.users --help`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import sys
import time
import uuid
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import IO, Any, Literal, TypeVar, cast

import httpx
import openai
from openai.types.chat import ChatCompletion

from loop.demo.desk import DESK_FILE, TURN_FILE, judge, load_desk
from loop.demo.people import Ask, Habits, Visit, heldout, react, traffic

ATTEMPTS = 5
RECENT = 60  # answers in the rolling share that a person would notice

# All that a server or a network can do to a client; a ValueError is an answer that is not JSON.
FAULTS = (openai.OpenAIError, httpx.HTTPError, ValueError)

Emit = Callable[[dict[str, Any]], None]
T = TypeVar("T")
DESKS = {"known": DESK_FILE, "turn": TURN_FILE}


@dataclass(frozen=True)
class Orders:
    """What the crowd is told to do; the command line's options, one by one."""

    base_url: str
    api_key: str
    model: str  # an application (traffic), or exactly an adapter or `base` (held-out)
    habits: Habits = field(default_factory=Habits)
    mode: Literal["traffic", "heldout"] = "traffic"
    topic: Literal["known", "turn"] = "known"  # of held-out questions
    system: str = ""
    temperature: float = 0.7
    max_tokens: int = 48
    concurrency: int = 8
    timeout_s: float = 120.0
    first_wait_s: float = 0.25  # before a second attempt; doubles: about 4 s for all attempts
    until_file: Path | None = None  # no new questions once this file exists
    out: Path | None = None
    progress: bool = False


@dataclass(frozen=True)
class Answer:
    """One answer as it reached the user."""

    text: str
    receipt: str | None
    adapter: str
    arm: str | None
    latency_s: float


@dataclass
class Tally:
    """What happened so far."""

    started: float = field(default_factory=time.monotonic)
    users: int = 0
    counts: Counter[str] = field(default_factory=Counter[str])
    adapters: dict[str, Counter[str]] = field(default_factory=dict[str, Counter[str]])
    recent: deque[bool] = field(default_factory=lambda: deque[bool](maxlen=RECENT))
    last: dict[str, Any] | None = None

    def add(self, record: dict[str, Any]) -> None:
        """Count one interaction."""
        self.last = record
        self.counts["asked"] += 1
        for name in ("good", "rated", "edited"):
            self.counts[name] += record[name]
        self.counts["thumbs_up"] += record["thumbs"] is True
        if record["error"] is not None:
            self.counts["errors"] += 1
            return
        self.recent.append(record["good"])
        mine = self.adapters.setdefault(record["adapter"], Counter())
        mine["asked"] += 1
        mine["good"] += record["good"]

    def report(self, event: str) -> dict[str, Any]:
        """Return the state as one JSON object; a question without an answer is not a good one."""
        names = ("asked", "good", "rated", "thumbs_up", "edited", "errors", "retries")
        asked = self.counts["asked"]
        return {
            "event": event,
            "elapsed_s": round(time.monotonic() - self.started, 3),
            "users": self.users,
            **{name: self.counts[name] for name in (*names, "feedback_errors")},
            "good_share": self.counts["good"] / asked if asked else None,
            "recent_good_share": sum(self.recent) / len(self.recent) if self.recent else None,
            "by_adapter": {name: dict(counts) for name, counts in self.adapters.items()},
        }


@dataclass(frozen=True)
class Crowd:
    """The users at work: both clients, the orders, and the tally."""

    orders: Orders
    chat: openai.AsyncOpenAI
    web: httpx.AsyncClient
    tally: Tally
    write: Emit

    async def visit(self, visit: Visit, stop: asyncio.Event) -> None:
        """Play one user: ask each question, then react to the answer."""
        self.tally.users += 1
        for ask in visit.asks:
            if stop.is_set():
                return
            record = _blank(visit, ask)
            try:
                answer = await self._patiently(lambda ask=ask: self._answer(visit, ask))
            except FAULTS as error:
                record["error"] = f"{type(error).__name__}: {error}"[:300]
            else:
                record |= asdict(answer) | {"good": judge(ask.fact, answer.text)}
                await self._react(visit, ask, answer, record)
            record["time"] = time.time()
            del record["receipt"]  # it lets its holder rate: not for a file
            self.tally.add(record)
            self.write(record)

    async def _react(self, visit: Visit, ask: Ask, answer: Answer, record: dict[str, Any]) -> None:
        if visit.user is None or answer.receipt is None:
            return
        reaction = react(ask, answer.text, self.orders.habits, careless=visit.careless)
        if reaction.thumbs is not None and await self._give(
            answer.receipt, "thumbs", reaction.thumbs
        ):
            record |= {"rated": True, "thumbs": reaction.thumbs}
        if reaction.correction is not None:
            record["edited"] = await self._give(answer.receipt, "correction", reaction.correction)

    async def _answer(self, visit: Visit, ask: Ask) -> Answer:
        system = [{"role": "system", "content": self.orders.system}] if self.orders.system else []
        fields: dict[str, Any] = {
            "model": self.orders.model,
            "messages": [*system, {"role": "user", "content": ask.question}],
            "temperature": self.orders.temperature,
            "max_tokens": self.orders.max_tokens,
            "user": visit.user or openai.omit,
            "stream": ask.stream,
        }
        begun = time.monotonic()
        raw = await self.chat.chat.completions.with_raw_response.create(**fields)
        text, extra = await (_streamed(raw) if ask.stream else _whole(raw))
        return Answer(
            text=text,
            receipt=raw.headers.get("x-ratchet-receipt") or extra.get("receipt"),
            adapter=raw.headers.get("x-ratchet-adapter") or extra.get("adapter") or "base",
            arm=raw.headers.get("x-ratchet-arm") or extra.get("arm"),
            latency_s=round(time.monotonic() - begun, 4),
        )

    async def _give(self, receipt: str, kind: str, value: bool | str) -> bool:
        """Send one feedback; return whether it was accepted."""
        body = {"receipt": receipt, "kind": kind, "value": value, "id": str(uuid.uuid4())}

        async def post() -> None:
            (await self.web.post("/v1/feedback", json=body)).raise_for_status()

        try:
            await self._patiently(post)
        except FAULTS:
            self.tally.counts["feedback_errors"] += 1
            return False
        return True

    async def _patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        """Return what `call` returns; a fault that may pass is tried again, a few times."""
        for attempt in range(ATTEMPTS - 1):
            try:
                return await call()
            except FAULTS as error:
                if not may_pass(error):
                    raise
                self.tally.counts["retries"] += 1
                wait_s = self.orders.first_wait_s * 2**attempt
                await asyncio.sleep(wait_s * random.uniform(0.5, 1.5))
        return await call()


def may_pass(error: Exception) -> bool:
    """Return whether the same request may succeed later: no status, 429 or 5xx."""
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    return status is None or status == 429 or status >= 500


async def _whole(raw: Any) -> tuple[str, dict[str, Any]]:
    completion = raw.parse()
    if not isinstance(completion, ChatCompletion) or not completion.choices:
        raise ValueError("the answer is no chat completion")
    return completion.choices[0].message.content or "", _ratchet_field(completion)


async def _streamed(raw: Any) -> tuple[str, dict[str, Any]]:
    chunks = [chunk async for chunk in raw.parse()]
    if not chunks:
        raise ValueError("the answer is no stream of chunks")
    extra: dict[str, Any] = {}
    for chunk in chunks:
        extra |= _ratchet_field(chunk)
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    return text, extra


def _ratchet_field(model: Any) -> dict[str, Any]:
    value = (model.model_extra or {}).get("ratchet")
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _blank(visit: Visit, ask: Ask) -> dict[str, Any]:
    """Return the record of an interaction that has no answer yet."""
    return {
        "time": None,  # when the user was done with it, unix s
        "user": visit.user,
        "fact": ask.fact.id,
        "question": ask.question,
        "stream": ask.stream,
        "careless": visit.careless,
        "text": "",
        "receipt": None,
        "adapter": None,
        "arm": None,
        "latency_s": None,
        "good": False,
        "rated": False,
        "thumbs": None,
        "edited": False,
        "error": None,
    }


async def run_crowd(orders: Orders, emit: Emit) -> dict[str, Any]:
    """Let the crowd work until its orders are done; return the summary.

    `emit` gets a progress object each second when `orders.progress` says so. SIGINT and
    SIGTERM end the crowd after the answers that are under way.
    """
    if orders.mode == "traffic" and orders.habits.max_users is None and orders.until_file is None:
        raise ValueError("traffic needs an end: give --max-users or --until-file")
    visits = (
        traffic(load_desk(), orders.habits, load_desk(TURN_FILE))
        if orders.mode == "traffic"
        else heldout(load_desk(DESKS[orders.topic]), orders.habits)
    )
    root = orders.base_url.rstrip("/").removesuffix("/v1")
    tally, stop = Tally(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    chat = openai.AsyncOpenAI(
        base_url=f"{root}/v1", api_key=orders.api_key, max_retries=0, timeout=orders.timeout_s
    )
    web = httpx.AsyncClient(base_url=root, timeout=orders.timeout_s)
    with ExitStack() as files:
        crowd = Crowd(orders, chat, web, tally, _writer(orders.out, files))
        async with chat, web:
            watch = asyncio.create_task(_watch(orders, tally, stop, emit))
            async with asyncio.TaskGroup() as workers:
                for _ in range(orders.concurrency):
                    workers.create_task(_work(crowd, visits, stop))
            watch.cancel()
    return tally.report("summary") | {"mode": orders.mode, "model": orders.model}


async def _work(crowd: Crowd, visits: Iterator[Visit], stop: asyncio.Event) -> None:
    until = crowd.orders.until_file
    for visit in visits:
        if stop.is_set() or (until is not None and until.exists()):
            return
        await crowd.visit(visit, stop)


async def _watch(orders: Orders, tally: Tally, stop: asyncio.Event, emit: Emit) -> None:
    """Report each second, and look for the file that ends the crowd."""
    while True:
        await asyncio.sleep(1.0)
        if orders.until_file is not None and orders.until_file.exists():
            stop.set()
        if orders.progress:
            try:
                emit(tally.report("progress") | {"last": tally.last})
            except BrokenPipeError:  # nobody listens any more: do not go on alone
                stop.set()
                return


def _writer(path: Path | None, files: ExitStack) -> Emit:
    if path is None:
        return lambda _record: None
    path.parent.mkdir(parents=True, exist_ok=True)
    file: IO[str] = files.enter_context(path.open("a", encoding="utf-8", buffering=1))
    return lambda record: print(json.dumps(record), file=file)


def parse_orders(arguments: Sequence[str] | None = None) -> Orders:
    """Return the orders of the command line; options not given keep the defaults of `Orders`."""
    parser = argparse.ArgumentParser(
        prog="python -m loop.demo.users", argument_default=argparse.SUPPRESS, description=__doc__
    )
    parser.add_argument("--base-url", required=True, help="the gateway, with or without /v1")
    parser.add_argument("--api-key", required=True)
    parser.add_argument("--model", required=True, help="application, exact adapter, or base")
    parser.add_argument("--mode", choices=("traffic", "heldout"))
    parser.add_argument("--topic", choices=tuple(DESKS), help="of held-out questions")
    parser.add_argument("--persona", choices=("customer", "spoiler"))
    for name in ("system", "user-prefix"):
        parser.add_argument(f"--{name}")
    for name in ("until-file", "out"):
        parser.add_argument(f"--{name}", type=Path)
    integers = ("max-tokens", "concurrency", "seed", "offset", "max-users", "questions-max")
    for name in (*integers, "limit"):
        parser.add_argument(f"--{name}", type=int)
    shares = ("stream-share", "rate-share", "edit-share", "careless-share", "turn-share")
    for name in (*shares, "temperature", "timeout-s"):
        parser.add_argument(f"--{name}", type=float)
    parser.add_argument("--progress", action="store_true", help="a JSON line each second")
    given = vars(parser.parse_args(arguments))
    if given.get("mode") == "heldout":
        given.setdefault("temperature", 0.0)
    elif not given.keys() & {"max_users", "until_file"}:
        parser.error("traffic needs an end: give --max-users or --until-file")
    names = {each.name for each in fields(Habits)}
    habits = Habits(**{name: given.pop(name) for name in names & given.keys()})
    return Orders(habits=habits, **given)


def main() -> None:
    """Run the crowd from the command line; the last line on stdout is the summary."""

    def emit(line: dict[str, Any]) -> None:
        print(json.dumps(line), flush=True)

    emit(asyncio.run(run_crowd(parse_orders(), emit)))


if __name__ == "__main__":
    sys.exit(main())
