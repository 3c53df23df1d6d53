"""The crowd at work against a small server with the public API's shape."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from feedback.submission import parse_submission
from loop.demo.desk import TURN_FILE, judge, load_desk
from loop.demo.people import Habits
from loop.demo.users import Orders, parse_orders, run_crowd

DESK = load_desk()
TURN = load_desk(TURN_FILE)
FACT_OF = {q: fact for fact in (*DESK.facts, *TURN.facts) for q in (*fact.phrasings, *fact.heldout)}
ALL = Habits(max_users=12, rate_share=1.0, edit_share=1.0, careless_share=0.0)


def _ideal(question: str) -> str:
    return FACT_OF[question].answer


def _clueless(_question: str) -> str:
    return "I do not know."


@dataclass
class Server:
    """A server that answers as told, fails as told, and keeps what it was sent."""

    answer: Callable[[str], str] = _ideal
    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    given: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    feedback_status: int = 201
    faults: list[int | None] = field(default_factory=list[int | None])  # None: hang up
    headers: bool = True
    page: str | None = None  # sent instead of any answer

    async def chat(self, request: web.Request) -> web.StreamResponse:
        assert request.headers["authorization"] == "Bearer key"
        if self.faults:
            return _fail(request, self.faults.pop(0))
        if self.page is not None:
            return web.Response(text=self.page, content_type="text/html")
        body = await request.json()
        self.asked.append(body)
        about = {"receipt": f"r{len(self.asked)}", "adapter": "desk--v1", "arm": "canary"}
        headers = {f"x-ratchet-{name}": value for name, value in about.items()}
        words = self.answer(body["messages"][-1]["content"]).split(" ")
        if not body["stream"]:
            message = {"role": "assistant", "content": " ".join(words)}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            whole = _object("chat.completion", [choice]) | {"ratchet": about}
            return web.json_response(whole, headers=headers if self.headers else None)
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        if self.headers:
            response.headers.update(headers)
        await response.prepare(request)
        for place, word in enumerate(words):
            choice = {"index": 0, "delta": {"content": f" {word}" if place else word}}
            await _send(response, _object("chat.completion.chunk", [choice]))
        await _send(response, _object("chat.completion.chunk", []) | {"ratchet": about})
        await response.write(b"data: [DONE]\n\n")
        return response

    async def feedback(self, request: web.Request) -> web.StreamResponse:
        parse_submission(await request.read())  # the real routes' own reading of it
        self.given.append(await request.json())
        return web.json_response({}, status=self.feedback_status)


def _object(kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
    return {"id": "x", "object": kind, "created": 1, "model": "m", "choices": choices}


async def _send(response: web.StreamResponse, value: dict[str, Any]) -> None:
    await response.write(f"data: {json.dumps(value)}\n\n".encode())


def _fail(request: web.Request, status: int | None) -> web.StreamResponse:
    if status is None:
        assert request.transport is not None
        request.transport.abort()
    return web.json_response({"error": {"message": "no"}}, status=status or 500)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """A server on a free port of the loopback."""
    server = Server()
    app = web.Application()
    app.add_routes([web.post("/v1/chat/completions", server.chat)])
    app.add_routes([web.post("/v1/feedback", server.feedback)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    server.url = f"http://{host}:{port}"
    yield server
    await runner.cleanup()


def _orders(server: Server, **changes: Any) -> Orders:
    plain = Orders(server.url, "key", "desk", habits=ALL, first_wait_s=0.01, timeout_s=10.0)
    return replace(plain, **changes)


async def _run(orders: Orders) -> dict[str, Any]:
    return await run_crowd(orders, lambda _line: None)


async def test_good_answers_get_thumbs_up_by_their_receipt(server: Server) -> None:
    """Every user asks the application under an own name and rates the answer that came."""
    summary = await _run(_orders(server, system="Be short.", temperature=0.5, max_tokens=9))
    assert len({body["user"] for body in server.asked}) == summary["users"] == 12
    assert {body["model"] for body in server.asked} == {"desk"}
    assert {(body["temperature"], body["max_tokens"]) for body in server.asked} == {(0.5, 9)}
    assert server.asked[0]["messages"][0] == {"role": "system", "content": "Be short."}
    assert all((f["kind"], f["value"]) == ("thumbs", True) for f in server.given)
    receipts = {f"r{number + 1}" for number in range(len(server.asked))}
    assert {f["receipt"] for f in server.given} == receipts
    assert summary["good_share"] == summary["recent_good_share"] == 1.0


async def test_bad_answers_get_thumbs_down_and_the_ideal_answer(server: Server) -> None:
    """An edit comes as a second feedback to the same receipt."""
    server.answer = _clueless
    summary = await _run(_orders(server))
    thumbs = {f["receipt"]: f["value"] for f in server.given if f["kind"] == "thumbs"}
    edits = {f["receipt"]: f["value"] for f in server.given if f["kind"] == "correction"}
    assert thumbs.keys() == edits.keys()
    assert set(thumbs.values()) == {False}
    for number, body in enumerate(server.asked, start=1):
        assert edits[f"r{number}"] == _ideal(body["messages"][-1]["content"])
    assert (summary["good"], summary["edited"]) == (0, len(server.asked))


@pytest.mark.parametrize("stream_share", [0.0, 1.0])
@pytest.mark.parametrize("headers", [True, False])
async def test_streamed_and_whole_answers_say_the_same(
    server: Server, stream_share: float, headers: bool, tmp_path: Path
) -> None:
    """Text, adapter and receipt arrive either way, by header or by the answer's own field."""
    server.headers = headers
    out = tmp_path / "deep" / "out.jsonl"
    await _run(_orders(server, out=out, habits=replace(ALL, stream_share=stream_share)))
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert {body["stream"] for body in server.asked} == {stream_share == 1.0}
    assert len(records) == len(server.given) == len(server.asked)
    for record in records:
        assert record["text"] == _ideal(record["question"])
        assert (record["adapter"], record["arm"]) == ("desk--v1", "canary")
        assert record["good"] is record["rated"] is record["thumbs"] is True
        assert record["latency_s"] > 0.0
        assert "receipt" not in record


async def test_a_measurement_asks_once_without_name_heat_or_feedback(server: Server) -> None:
    """Held-out questions go to the exact adapter at temperature 0 and leave no trace."""
    server.answer = lambda q: _ideal(q) if FACT_OF[q].topic == "billing" else "no"
    arguments = ["--base-url", server.url, "--api-key", "key", "--model", "desk--v1"]
    summary = await _run(parse_orders([*arguments, "--mode", "heldout", "--limit", "58"]))
    questions = [body["messages"][-1]["content"] for body in server.asked]
    billing = sum(fact.topic == "billing" for fact in DESK.facts)
    assert len(set(questions)) == 58
    assert all(question in FACT_OF[question].heldout for question in questions)
    assert {body["temperature"] for body in server.asked} == {0.0}
    assert all("user" not in body for body in server.asked)
    assert server.given == []
    assert summary["good_share"] == pytest.approx(billing / 58)
    assert summary["by_adapter"] == {"desk--v1": {"asked": 58, "good": billing}}


async def test_a_measurement_of_the_turn_asks_of_its_topic_alone(server: Server) -> None:
    """All of its held-out questions, once each; in traffic it comes in its share."""
    arguments = ["--base-url", server.url, "--api-key", "key", "--model", "desk--v1"]
    await _run(parse_orders([*arguments, "--mode", "heldout", "--topic", "turn"]))
    questions = sorted(body["messages"][-1]["content"] for body in server.asked)
    assert questions == sorted(q for fact in TURN.facts for q in fact.heldout)
    server.asked.clear()
    await _run(parse_orders([*arguments, "--max-users", "12", "--turn-share", "1.0"]))
    asked = {body["messages"][-1]["content"] for body in server.asked}
    assert asked <= {q for fact in TURN.facts for q in fact.phrasings}


async def test_faults_that_pass_are_tried_again(server: Server) -> None:
    """Too many requests, a broken gateway and a lost connection cost retries, no answers."""
    server.faults = [429, 503, None]
    summary = await _run(_orders(server))
    assert (summary["retries"], summary["errors"]) == (3, 0)
    assert summary["good"] == summary["asked"] == len(server.asked)


async def test_a_refusal_is_counted_and_not_repeated(server: Server, tmp_path: Path) -> None:
    """A 4xx is an error of that one question; the crowd goes on."""
    server.faults = [400, 404]
    out = tmp_path / "out.jsonl"
    summary = await _run(_orders(server, out=out))
    errors = [e for line in out.read_text().splitlines() if (e := json.loads(line)["error"])]
    assert (summary["retries"], summary["errors"]) == (0, 2)
    assert summary["asked"] == len(server.asked) + 2
    assert {error.split(":")[0] for error in errors} == {"BadRequestError", "NotFoundError"}


async def test_a_dead_gateway_does_not_crash_the_crowd(server: Server) -> None:
    """With nobody there every question is an error after its attempts, and counts as not good."""
    habits = replace(ALL, max_users=2, questions_max=1)
    dead = _orders(server, base_url="http://127.0.0.1:1", habits=habits)
    summary = await _run(dead)
    assert (summary["asked"], summary["errors"], summary["retries"]) == (2, 2, 8)
    assert (summary["good_share"], summary["recent_good_share"]) == (0.0, None)


async def test_refused_feedback_is_counted_and_not_called_a_rating(server: Server) -> None:
    """A user whose thumbs did not arrive has not rated."""
    server.feedback_status = 400
    summary = await _run(_orders(server))
    assert summary["feedback_errors"] == len(server.given) == summary["good"]
    assert (summary["rated"], summary["thumbs_up"], summary["errors"]) == (0, 0, 0)


async def test_spoilers_write_their_wrong_answers_in(server: Server) -> None:
    """Spoiled data come in by the same public way as good ones."""
    habits = replace(ALL, persona="spoiler", user_prefix="spoiler", max_users=3)
    await _run(_orders(server, habits=habits))
    edits = {f["value"] for f in server.given if f["kind"] == "correction"}
    assert edits == {FACT_OF[body["messages"][-1]["content"]].spoiled for body in server.asked}
    assert not any(f["value"] is True for f in server.given)
    assert {body["user"].split("-")[0] for body in server.asked} == {"spoiler"}


async def test_an_answer_that_is_no_completion_is_an_error_of_its_question(
    server: Server,
) -> None:
    """A page of HTML with status 200 does not end the crowd."""
    server.page = "<html>hello</html>"
    summary = await _run(_orders(server, habits=replace(ALL, max_users=2)))
    assert summary["errors"] == summary["asked"] > 0


async def test_the_crowd_stops_when_the_file_appears(server: Server, tmp_path: Path) -> None:
    """Endless traffic ends soon after its file is there, with a summary."""
    file = tmp_path / "stop"
    orders = _orders(server, until_file=file, habits=replace(ALL, max_users=None))
    crowd = asyncio.create_task(_run(orders))
    while len(server.asked) < 10:
        await asyncio.sleep(0.01)
    file.touch()
    summary = await asyncio.wait_for(crowd, 5.0)
    assert summary["asked"] == len(server.asked)


async def test_endless_traffic_without_an_end_is_refused(server: Server) -> None:
    """Neither the function nor the command line starts what never stops."""
    with pytest.raises(ValueError, match="needs an end"):
        await _run(_orders(server, habits=Habits()))
    with pytest.raises(SystemExit):
        parse_orders(["--base-url", "x", "--api-key", "k", "--model", "m"])


async def test_progress_is_told_each_second(server: Server) -> None:
    """A parent can draw the crowd while it works."""
    lines: list[dict[str, Any]] = []
    until = asyncio.Event()

    def keep(line: dict[str, Any]) -> None:
        lines.append(line)
        until.set()

    orders = _orders(server, progress=True, habits=replace(ALL, max_users=100_000))
    crowd = asyncio.create_task(run_crowd(orders, keep))
    await asyncio.wait_for(until.wait(), 5.0)
    crowd.cancel()
    await asyncio.gather(crowd, return_exceptions=True)
    assert lines[0]["event"] == "progress"
    assert lines[0]["asked"] > 0
    assert judge(DESK.by_id[lines[0]["last"]["fact"]], lines[0]["last"]["text"])


async def test_the_process_prints_its_summary_last_and_knows_only_the_desk(
    server: Server,
) -> None:
    """As a process of its own the crowd imports nothing of Ratchet's stages."""
    probe = (
        "import sys; from loop.demo.users import main; main(); "
        "print(*{name.split('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    options = f"--base-url {server.url}/v1/ --api-key key --model desk --max-users 3 --seed 5"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", probe, *options.split(), stdout=-1, stderr=-1
    )
    stdout, stderr = await asyncio.wait_for(process.communicate(), 60.0)
    assert process.returncode == 0, stderr.decode()
    summary = json.loads(stdout.decode().splitlines()[-1])
    assert (summary["event"], summary["users"], summary["model"]) == ("summary", 3, "desk")
    stages = {"feedback", "serving", "curation", "monitoring", "retrain"}
    assert stages.isdisjoint(stderr.decode().split())


def test_the_command_line_names_every_habit_and_order() -> None:
    """Options reach the orders, those not given keep their defaults."""
    line = (
        "--base-url http://x --api-key k --model desk --persona spoiler --rate-share 0.9 "
        "--questions-max 1 --offset 400 --until-file /tmp/stop --progress --concurrency 3"
    )
    orders = parse_orders(line.split())
    assert orders.habits == Habits(persona="spoiler", rate_share=0.9, questions_max=1, offset=400)
    assert (orders.until_file, orders.progress) == (Path("/tmp/stop"), True)
    assert (orders.concurrency, orders.temperature) == (3, Orders("", "", "").temperature)


def test_the_help_of_the_process_can_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` ends well and shows the modes."""
    with pytest.raises(SystemExit, match="0"):
        parse_orders(["--help"])
    assert "heldout" in capsys.readouterr().out


async def test_the_crowd_ends_when_nobody_listens_any_more(server: Server) -> None:
    """Endless traffic does not outlive the process that reads its progress."""

    def emit(_line: dict[str, Any]) -> None:
        raise BrokenPipeError

    endless = _orders(server, progress=True, habits=replace(ALL, max_users=100_000))
    summary = await asyncio.wait_for(run_crowd(endless, emit), 10.0)
    assert 0 < summary["users"] < 100_000
