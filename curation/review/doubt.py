"""CURATE: how sure the served model is of an answer: the mean log-probability of its tokens.

Candidates with their texts come in, a number for each goes out. The engine, any vLLM, is given the
whole conversation and says of each token of it how likely it was; the answer's are the last ones.
Optional: what cannot be asked stays without a number, with a warning. Knows no queue.

Source: the fine-tuning guide, "Active Learning Strategies" (uncertainty by token
log-probabilities); vLLM 0.32, `ChatCompletionRequest.prompt_logprobs`.
"""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog
from tokenizers import Tokenizer

from core.settings import EngineSettings
from curation.stages.tokens import load_tokenizer
from curation.table import Table

TIMEOUT_S = 60.0  # of one conversation; vLLM on 2 cores reads 2,000 tokens in 20. Our choice
BAD_REQUEST, NOT_FOUND = 400, 404

Tell = Callable[[int], None]  # how many are done
log = structlog.get_logger(__name__)


class _Likelihood(msgspec.Struct, frozen=True):
    logprob: float


class _Reply(msgspec.Struct, frozen=True):
    prompt_logprobs: list[dict[str, _Likelihood] | None] | None = None


@dataclass(frozen=True, slots=True)
class Scores:
    """Mean log-probabilities by candidate, and why some are missing ("" if none is)."""

    by_candidate: Mapping[str, float]
    warning: str = ""


@dataclass(frozen=True, slots=True)
class Scorer:
    """One model of one engine, with the tokenizer that counts an answer's tokens."""

    url: str
    model: str
    tokenizer: Tokenizer

    def score(self, messages: Sequence[Mapping[str, str]]) -> float | None:
        """Return the mean log-probability of the last message's tokens, in nats.

        None where it has no tokens, or the engine cannot take the conversation.

        Raises: ScorerError when there is no use in asking on.
        """
        *prompt, answer = messages
        text = answer["content"].strip()  # some chat templates strip it, and tokens are counted
        tokens = len(self.tokenizer.encode(text, add_special_tokens=False).ids)
        if tokens == 0:
            return None
        told = self._asked([*prompt, {"role": answer["role"], "content": text}])
        if told is None or len(told) <= tokens:
            return None
        last = [next(iter(each.values())).logprob for each in told[-tokens:] if each]
        return sum(last) / tokens if len(last) == tokens else None

    def _asked(self, messages: Sequence[Mapping[str, str]]) -> Sequence[Any] | None:
        """Return of each token of the conversation how likely it was; None of a refused one."""
        body = {
            "model": self.model,
            "messages": messages,
            "prompt_logprobs": 0,  # of the tokens that are there, and of no others
            "add_generation_prompt": False,
            "continue_final_message": True,  # no mark of an end after the answer
            "max_tokens": 1,
            "temperature": 0.0,
        }
        request = urllib.request.Request(
            f"{self.url}/v1/chat/completions",
            msgspec.json.encode(body),
            {"content-type": "application/json"},
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # it is near
        try:
            with opener.open(request, timeout=TIMEOUT_S) as answer:
                told = msgspec.json.decode(answer.read(), type=_Reply).prompt_logprobs
        except urllib.error.HTTPError as error:
            if error.code == BAD_REQUEST:
                return None
            raise ScorerError(_refusal(error.code, self.model)) from error
        except OSError as error:
            raise ScorerError(f"it does not answer ({type(error).__name__})") from error
        except msgspec.DecodeError as error:
            raise ScorerError("its answer is not vLLM's") from error
        if told is None:
            raise ScorerError("it tells no log-probabilities of prompts, as vLLM does")
        return told


class ScorerError(Exception):
    """The engine is of no use for scores now; ends the asking, and becomes a warning."""


def score(tables: Iterable[Table], engine: EngineSettings, model: str, tell: Tell) -> Scores:
    """Return the scores of candidates, one request after another: people are served beside it.

    Raises: DataError when the base model has no tokenizer.
    """
    url = engine_url(engine)
    if url is None:
        return Scores({}, "no engine was asked for scores: engine.replicas names none")
    scorer = Scorer(url, model, load_tokenizer(engine.model))
    scores: dict[str, float] = {}
    asked = 0
    for table in tables:
        for row in table.select(["candidate_id", "messages"]).to_pylist():
            try:
                found = scorer.score(row["messages"])
            except ScorerError as error:
                log.warning("review_not_scored", engine=url, reason=str(error), scored=len(scores))
                return Scores(scores, f"the engine {url} scored {len(scores):,}: {error}")
            if found is not None:
                scores[row["candidate_id"]] = found
            asked += 1
            tell(asked)
    return Scores(scores)


def engine_url(engine: EngineSettings) -> str | None:
    """Return the URL of an engine that can be asked; None of those that only Kubernetes knows."""
    if engine.replicas:
        return engine.replicas[0]
    return None if engine.is_external else engine.url


def _refusal(status: int, model: str) -> str:
    if status == NOT_FOUND:
        return f"it does not serve {model} (status 404)"
    return f"it answers with status {status}"
