"""A vLLM that says by rule how likely the tokens of a conversation are: one for each word.

It is the fake engine with `prompt_logprobs`; tests/contract/test_doubt.py holds it to what the real
vLLM does. In a test: `with FakeScorer() as engine: ...`, `engine.scores = False`.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from tests.fakes.engine import MAX_MODEL_LEN, FakeEngine, error_response
from tests.fakes.engine_shapes import Shape

UNLIKELY_A_LETTER = 0.1  # in nats: longer words are rarer


class FakeScorer(FakeEngine):
    """The engine; without `scores` it is one that knows no `prompt_logprobs`."""

    def behave(self) -> None:
        super().behave()
        self.scores = True

    async def _answer(
        self, request: web.Request, body: dict[str, Any], prompt: str, shape: Shape
    ) -> web.StreamResponse:
        answer = await super()._answer(request, body, prompt, shape)
        if not self.scores or "prompt_logprobs" not in body or answer.status != 200:
            return answer
        words = [word for part in body["messages"] for word in part["content"].split()]
        if len(words) >= MAX_MODEL_LEN:
            return error_response(400, f"{len(words)} tokens are too many: {MAX_MODEL_LEN}.")
        told = [{str(len(word)): _likelihood(word)} for word in ["<|im_start|>", *words]]
        whole = {"prompt_logprobs": [None, *told], "choices": [], "model": body["model"]}
        return web.json_response(whole)


def _likelihood(word: str) -> dict[str, Any]:
    return {"logprob": -UNLIKELY_A_LETTER * len(word), "rank": 1, "decoded_token": word}
