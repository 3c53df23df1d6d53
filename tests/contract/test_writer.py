"""What augmentation relies on in a server that writes: the fake and the real vLLM alike."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from core.curation_settings import AugmentationSettings
from core.errors import SettingsError
from curation.augmentation.writer import CUT_OFF, NOT_ANSWERED, Ask, Writer
from curation.judge import QUESTION, SCHEMA, read_verdict
from curation.table import Why
from tests.fakes.writer import FakeWriter

ASKS = [Ask(f"Say hello to number {number}.", number) for number in range(3)]


@pytest.fixture(scope="module", params=["fake", pytest.param("vllm", marks=pytest.mark.stack)])
def settings(request: pytest.FixtureRequest) -> Iterator[AugmentationSettings]:
    if request.param == "vllm":
        url = request.getfixturevalue("vllm_engine")
        yield AugmentationSettings(
            base_url=f"{url}/v1", max_tokens=16, concurrent=2, timeout_s=120.0
        )
        return
    with FakeWriter() as server:
        yield server.settings(max_tokens=16, concurrent=2)


def test_every_request_gets_a_reply_and_is_counted(settings: AugmentationSettings) -> None:
    """A text or a reason for each, and the tokens that the server counted."""
    with Writer(settings) as writer:
        replies = writer.replies(ASKS)
        usage = writer.usage
    assert len(replies) == len(ASKS)
    assert all(bool(reply.text) != bool(reply.why_not) for reply in replies)
    assert (usage.requests, usage.unanswered) == (len(ASKS), 0)
    assert usage.prompt_tokens >= 5 * len(ASKS)
    assert 0 < usage.completion_tokens <= 16 * len(ASKS)


def test_an_answer_that_is_cut_off_is_no_text(settings: AugmentationSettings) -> None:
    """The limit on tokens is kept, and what it cuts is refused."""
    with Writer(settings.model_copy(update={"max_tokens": 1})) as writer:
        (reply,) = writer.replies([Ask("Count from one to one hundred in words.", 1)])
    assert (reply.text, reply.why_not) == ("", Why(CUT_OFF))


def test_a_schema_makes_the_verdict_readable(settings: AugmentationSettings) -> None:
    """The server holds the model to the JSON that is asked for."""
    prompt = QUESTION.format(prompt="user: Hello?", first="Hello to you!", second="No.")
    with Writer(settings) as writer:
        (reply,) = writer.replies([Ask(prompt, 1, SCHEMA)])
    assert reply.why_not is None
    assert read_verdict(reply.text) in {"A", "B", "tie"}


def test_a_request_that_cannot_be_served_is_one_reply_lost(settings: AugmentationSettings) -> None:
    """What the server calls the request's own fault stops no other request."""
    with Writer(settings.model_copy(update={"max_tokens": 10_000_000})) as writer:
        replies = writer.replies(ASKS[:2])
    assert [reply.why_not for reply in replies] == [Why(NOT_ANSWERED, "status 400")] * 2


def test_an_unknown_model_is_named(settings: AugmentationSettings) -> None:
    """A wrong setting ends the work with a message that says how to mend it."""
    with (
        Writer(settings.model_copy(update={"model": "no-such-model"})) as writer,
        pytest.raises(SettingsError, match=r"augmentation\.model 'no-such-model' is not served"),
    ):
        writer.replies(ASKS)
