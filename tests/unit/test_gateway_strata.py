"""What the gateway logs for the canary's verdict: refusals, and the stratum of a request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from feedback.events import INTERACTIONS_TOPIC
from tests.unit.gateway_world import open_world

ASKED: Any = [{"role": "user", "content": "Where is my parcel?"}]


def test_a_refusal_is_marked_though_no_text_is_written(tmp_path: Path) -> None:
    """What the verdict counts is known here alone where an application keeps no text."""
    body = {"model": "live", "messages": ASKED}
    with open_world(tmp_path) as world:
        for reply, refused in (("I'm sorry, I cannot.", True), ("Of course.", False)):
            world.forget()
            world.engine.reply = lambda _model, _prompt, reply=reply: reply
            world.post("/v1/chat/completions", body, api_key="bank-key")
            (event,) = world.events()
            assert (event.answer, event.refused, event.stratum) == ("", refused, None)


@pytest.mark.parametrize(
    ("tags", "stratum"),
    [({"language": "de"}, "de"), ({"language": "a secret"}, "other"), (None, "other")],
)
def test_a_request_is_logged_with_its_stratum(
    tmp_path: Path, tags: dict[str, str] | None, stratum: str
) -> None:
    """Of the application's tags only values that its settings name are ever written."""
    rules = {"stratify_by": "metadata.language", "strata": ["de", "en"]}
    with open_world(tmp_path, changes={"shop": {"rollouts": rules}}) as world:
        body = {"model": "live", "messages": ASKED} | ({"metadata": tags} if tags else {})
        assert world.post("/v1/chat/completions", body).status_code == 200
        (event,) = world.events()
        assert event.stratum == stratum
        assert b"secret" not in b"".join(
            r.value for r in world.log.read(INTERACTIONS_TOPIC, after=0, limit=9)
        )


def test_strata_may_be_endpoints(tmp_path: Path) -> None:
    """The path that was asked, if it is named."""
    rules = {"stratify_by": "endpoint", "strata": ["/v1/completions"]}
    with open_world(tmp_path, changes={"canary": rules}) as world:
        world.post("/v1/completions", {"model": "live", "prompt": "?"})
        world.post("/v1/chat/completions", {"model": "live", "messages": ASKED})
        assert [event.stratum for event in world.events()] == ["/v1/completions", "other"]
