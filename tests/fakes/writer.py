"""A model that rephrases, translates, invents and judges by rule, behind a real HTTP server.

It is the fake engine with another rule of answering; tests/contract/test_writer.py holds it to what
the real vLLM does. In a test:

    with FakeWriter() as server: ... Writer(server.settings()), server.fail_next(503)
"""

from __future__ import annotations

import json
import re
from typing import Any

from aiohttp import web
from pydantic import SecretStr

from core.curation_settings import AugmentationSettings
from tests.fakes.engine import BASE, FakeEngine
from tests.fakes.engine_shapes import Shape

ANEW = "In other words, "
THERE = "Autrement dit, "
BACK = "To put it once more, "


def write_by_rule(_model: str, prompt: str) -> str:
    """Return what an obedient model would: the kept text with a few words before it."""
    if prompt.startswith("Rephrase the following"):
        return ANEW + between("text", prompt)
    if prompt.startswith("Translate the following"):
        text = between("text", prompt)
        return BACK + text.removeprefix(THERE) if text.startswith(THERE) else THERE + text
    if prompt.startswith("You judge two answers"):
        return json.dumps({"winner": longer(prompt)})
    if "<examples>" in prompt:
        return json.dumps({"examples": invented(prompt)})
    return f"Read: {prompt}"


def between(tag: str, prompt: str) -> str:
    """Return what stands between the marks."""
    return prompt.split(f"<{tag}>\n")[1].split(f"\n</{tag}>")[0]


def longer(prompt: str) -> str:
    """Return the place of the longer answer, or a tie."""
    first, second = len(between("answer_A", prompt)), len(between("answer_B", prompt))
    return "tie" if first == second else "A" if first > second else "B"


def invented(prompt: str) -> list[dict[str, str]]:
    """Return as many examples as are asked for, after the first that is shown."""
    shown = json.loads(between("examples", prompt))["examples"][0]
    count = re.search(r"Write (\d+) new ones", prompt)
    assert count is not None
    return [
        {"prompt": f"{shown['prompt']} And case {number}?", "answer": shown["answer"]}
        for number in range(int(count[1]))
    ]


class FakeWriter(FakeEngine):
    """The server; `most_running` is how many requests it has worked on at once.

    `completion`, where a test sets it, is every answer as it stands.
    """

    def behave(self) -> None:
        super().behave()
        self.reply = write_by_rule
        self.most_running = 0
        self.completion: dict[str, Any] | None = None

    def settings(self, **changed: Any) -> AugmentationSettings:
        """Return settings that lead here, without retries."""
        values: dict[str, Any] = {
            "enabled": True,
            "base_url": f"{self.url}/v1",
            "api_key": SecretStr("augmentation-key"),
            "model": BASE,
            "retries": 0,
            "timeout_s": 5.0,
        }
        return AugmentationSettings(**values | changed)

    async def _answer(
        self, request: web.Request, body: dict[str, Any], prompt: str, shape: Shape
    ) -> web.StreamResponse:
        self.most_running = max(self.most_running, self.running + 1)
        if self.completion is not None:
            return web.json_response(self.completion)
        limit = body.get("max_completion_tokens", body.get("max_tokens"))
        return await super()._answer(request, {**body, "max_tokens": limit}, prompt, shape)
