"""CURATE, beside real data: the model that writes and judges, behind any OpenAI-compatible server.

Requests come in, replies go out in the same order, a few at a time; a request that the server does
not answer well is a reply with a reason, and is counted. Retries, pauses and timeouts are the
official client's own. Knows nothing of examples. Needs the extra `augment`.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from core.curation_settings import AugmentationSettings
from core.errors import EngineUnavailable, SettingsError
from curation.table import Why

if TYPE_CHECKING:
    import openai
    from openai.types.chat import ChatCompletion

NO_KEY = "none"  # the client wants one even where the server does not
MAX_FAULTS_IN_A_ROW = 10  # each after its retries: such a server is down. Our choice

NOT_ANSWERED = "not answered"
NOT_ASKED = "not asked: the server is down"
CUT_OFF = "cut off"
BROKEN = "broken text"

_THOUGHTS = re.compile(r"\A\s*<think>.*?</think>\s*", re.DOTALL)  # where the server leaves them in


@dataclass(frozen=True, slots=True)
class Ask:
    """One request: the whole prompt, a number for the sampling, and the answer's JSON schema."""

    prompt: str
    seed: int
    schema: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model wrote, or why there is nothing to use."""

    text: str
    why_not: Why | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """What the requests cost."""

    requests: int = 0
    retries: int = 0
    unanswered: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def as_dict(self) -> dict[str, int]:
        """Return plain values for a manifest."""
        return asdict(self)


class Writer:
    """A model behind a server; `usage` grows with each request. Close it after use.

    Raises: SettingsError when the package of the client is missing.
    """

    def __init__(self, settings: AugmentationSettings) -> None:
        self.model = settings.model
        self._settings = settings
        self._client = _client(settings)
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(Usage().as_dict(), 0)
        self._faults_in_a_row = 0
        self._last_fault = ""
        self._refused_by_server = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._client.close()

    @property
    def usage(self) -> Usage:
        """What all requests so far have cost."""
        with self._lock:
            return Usage(**self._counts)

    def replies(self, asks: Sequence[Ask]) -> list[Reply]:
        """Return the reply to each request, in their order.

        After too many faults in a row the rest is not asked.

        Raises: EngineUnavailable when the server has never answered yet; SettingsError when it
        refuses the key or does not know the model.
        """
        if not asks:
            return []
        with ThreadPoolExecutor(min(self._settings.concurrent, len(asks))) as threads:
            replies = list(threads.map(self._reply, asks))
        usage = self.usage
        if self._faults_in_a_row and usage.requests == usage.unanswered:
            raise EngineUnavailable(
                f"augmentation.base_url {self._settings.base_url} answers none of "
                f"{usage.requests} requests ({self._last_fault}): start the server, correct the "
                "address, or raise augmentation.timeout_s"
            )
        return replies

    @property
    def _is_down(self) -> bool:
        return self._faults_in_a_row >= MAX_FAULTS_IN_A_ROW

    def _reply(self, ask: Ask) -> Reply:
        import openai

        if self._is_down or self._refused_by_server:
            return Reply("", Why(NOT_ASKED))
        try:
            raw = self._client.chat.completions.with_raw_response.create(**self._body(ask))
            completion = raw.parse()
        except (
            openai.AuthenticationError,
            openai.PermissionDeniedError,
            openai.NotFoundError,
        ) as error:
            self._refused_by_server = True
            raise SettingsError(self._refusal(error.status_code)) from error
        except openai.APIStatusError as error:
            is_fault = error.status_code == 429 or error.status_code >= 500
            return self._unanswered(f"status {error.status_code}", is_fault=is_fault)
        except openai.APIConnectionError as error:
            return self._unanswered(type(error).__name__, is_fault=True)
        self._count(completion, raw.retries_taken)
        return _read(completion)

    def _body(self, ask: Ask) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": "user", "content": ask.prompt}],  # not all know "system"
            "max_completion_tokens": self._settings.max_tokens,
            "seed": ask.seed,
        }
        if self._settings.temperature is not None:
            body["temperature"] = self._settings.temperature
        if ask.schema is not None and self._settings.structured:
            named = {"name": "answer", "strict": True, "schema": ask.schema}
            body["response_format"] = {"type": "json_schema", "json_schema": named}
        return body

    def _refusal(self, status: int) -> str:
        if status == 404:
            return (
                f"augmentation.model {self.model!r} is not served at "
                f"{self._settings.base_url} (status 404): name one that `/models` lists there, "
                "and let the address end as the server wants it, often in /v1"
            )
        return (
            f"{self._settings.base_url} refuses the key (status {status}): set augmentation.api_key"
        )

    def _unanswered(self, detail: str, *, is_fault: bool) -> Reply:
        with self._lock:
            self._counts["requests"] += 1
            self._counts["unanswered"] += 1
            self._faults_in_a_row += is_fault
            if is_fault:
                self._last_fault = detail
                self._counts["retries"] += self._settings.retries
        return Reply("", Why(NOT_ANSWERED, detail))

    def _count(self, completion: ChatCompletion, retries: int) -> None:
        usage = completion.usage
        with self._lock:
            self._counts["requests"] += 1
            self._counts["retries"] += retries
            self._faults_in_a_row = 0
            if usage is not None:
                self._counts["prompt_tokens"] += usage.prompt_tokens
                self._counts["completion_tokens"] += usage.completion_tokens


def _read(completion: ChatCompletion) -> Reply:
    """Return the first choice, if it was said to its end."""
    if not completion.choices:
        return Reply("", Why(NOT_ANSWERED, "no choices"))
    choice = completion.choices[0]
    if choice.finish_reason == "length":
        return Reply("", Why(CUT_OFF))
    if choice.finish_reason != "stop":
        return Reply("", Why(NOT_ANSWERED, choice.finish_reason))
    text = _THOUGHTS.sub("", choice.message.content or "")
    return Reply(text) if _is_text(text) else Reply("", Why(BROKEN))


def _is_text(text: str) -> bool:
    """Return whether it can be written: JSON may hold half of a surrogate pair."""
    return not any("\ud800" <= char <= "\udfff" for char in text)


def _client(settings: AugmentationSettings) -> openai.OpenAI:
    try:
        import openai
    except ImportError as error:
        raise SettingsError(
            "augmentation needs the OpenAI client: `pip install ratchet-llm[augment]`, "
            "or set augmentation.enabled to false"
        ) from error
    key = settings.api_key
    return openai.OpenAI(
        base_url=settings.base_url,
        api_key=NO_KEY if key is None else key.get_secret_value(),
        timeout=settings.timeout_s,
        max_retries=settings.retries,
    )
