"""Answers by the engine that serves: vLLM, in batches, as users will get them.

The candidate is loaded under a name of the run's own, `gate-RUN`, which no gateway knows and no
user can ask for, and unloaded at the end; after a kill the reconciler unloads it, since its run no
longer works. Prompts go as token ids, so that the chat template is training's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from core.errors import GateError
from core.ids import gate_adapter, gate_run
from retrain.gate.answering import Ask, Heard, Model
from retrain.gate.suite import Answer

FIND_S = 5.0
LOAD_S = 120.0  # as the reconciler gives it
ANSWER_S = 600.0  # users go first
TRIES = 3
PAUSE_S = 1.0  # before the second attempt; doubles


class EngineAnswers:
    """vLLM at `url`, asked `concurrent` questions at once."""

    name = "vLLM"

    def __init__(self, url: str, run_id: str, *, concurrent: int, stop_id: int) -> None:
        self._url, self._run_id = url.rstrip("/"), run_id
        self._concurrent, self._stop_id = concurrent, stop_id

    def why_not(self, base_model: str) -> str | None:
        """Return why this engine cannot answer for `base_model`; None if it can."""
        try:
            cards = asyncio.run(self._cards())
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            return f"no engine answers at {self._url} ({type(error).__name__})"
        bases = [str(card.get("root")) for card in cards if card.get("parent") is None]
        if not any(_same_folder(root, base_model) for root in bases):
            return f"the engine at {self._url} serves {', '.join(bases)}, not {base_model}"
        return None

    def answer(self, model: Model, asks: Sequence[Ask], heard: Heard) -> None:
        """Answer every ask, in whatever order the engine ends them.

        Raises: GateError when the engine refuses the adapter or does not answer.
        """
        try:
            asyncio.run(self._answer_all(model, asks, heard))
        except (aiohttp.ClientError, TimeoutError) as error:
            raise GateError(
                f"the engine at {self._url} broke off while the gate asked it "
                f'({type(error).__name__}): `ratchet resume` goes on, or set gate.answers = "'
                'transformers"'
            ) from error

    async def _answer_all(self, model: Model, asks: Sequence[Ask], heard: Heard) -> None:
        room = asyncio.Semaphore(self._concurrent)
        async with aiohttp.ClientSession() as session, self._named(session, model) as name:

            async def one(ask: Ask) -> None:
                async with room:
                    heard(ask, await self._answer(session, (name, model.folder), ask))

            tasks = [asyncio.create_task(one(ask)) for ask in asks]
            try:
                await asyncio.gather(*tasks)  # the first fault, by its own name
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    @asynccontextmanager
    async def _named(self, session: aiohttp.ClientSession, model: Model) -> AsyncGenerator[str]:
        """Give the name under which the engine has the model, loaded for as long as it is used."""
        cards = await self._cards(session)
        if model.folder is None:
            yield next(str(card["id"]) for card in cards if card.get("parent") is None)
            return
        for card in cards:
            if gate_run(str(card["id"])) is not None:
                continue
            if card.get("parent") and _same_folder(str(card.get("root")), str(model.folder)):
                yield str(card["id"])  # the live adapter: users have it already
                return
        name = gate_adapter(self._run_id, model.label)
        await self._unload(session, name)  # of an attempt that was killed
        await self._load(session, name, model.folder)
        try:
            yield name
        finally:
            await self._unload(session, name)

    async def _load(
        self, session: aiohttp.ClientSession, name: str, folder: Path, *, again: bool = False
    ) -> None:
        """Make the engine know the name; `again`: it is no error if it does."""
        body = {"lora_name": name, "lora_path": str(folder)}
        url = f"{self._url}/v1/load_lora_adapter"
        async with session.post(url, json=body, timeout=_total(LOAD_S)) as response:
            if response.status != 200 and not again:
                raise GateError(
                    f"the engine refuses to load {folder} for the gate: "
                    f"{(await response.text())[:500]}"
                )

    async def _unload(self, session: aiohttp.ClientSession, name: str) -> None:
        """Make the engine forget the name; that it does not know it is no error."""
        url = f"{self._url}/v1/unload_lora_adapter"
        body = {"lora_name": name}
        async with session.post(url, json=body, timeout=_total(LOAD_S)) as response:
            await response.read()

    async def _answer(
        self, session: aiohttp.ClientSession, asked: tuple[str, Path | None], ask: Ask
    ) -> Answer:
        """Ask once, and again when the engine is out of breath or has forgotten the adapter."""
        name, folder = asked
        body = {
            "model": name,
            "prompt": list(ask.prompt_ids),
            "max_tokens": ask.max_tokens,
            "temperature": 0.0,
            "stop_token_ids": [self._stop_id],
        }
        url, said = f"{self._url}/v1/completions", ""
        for attempt in range(TRIES):
            began = time.monotonic()
            async with session.post(url, json=body, timeout=_total(ANSWER_S)) as response:
                if response.status == 200:
                    return _read(await response.json(), time.monotonic() - began)
                said = f"{response.status}: {(await response.text())[:500]}"
            if response.status == 404 and folder is not None:  # it restarted, say
                await self._load(session, name, folder, again=True)
            elif response.status < 500:
                break
            await asyncio.sleep(PAUSE_S * 2**attempt)
        raise GateError(f"the engine does not answer a question of the gate: {said}")

    async def _cards(self, session: aiohttp.ClientSession | None = None) -> list[dict[str, Any]]:
        if session is None:
            async with aiohttp.ClientSession() as own:
                return await self._cards(own)
        async with session.get(f"{self._url}/v1/models", timeout=_total(FIND_S)) as response:
            response.raise_for_status()
            return (await response.json())["data"]


def _read(told: dict[str, Any], seconds: float) -> Answer:
    choice = told["choices"][0]
    return Answer(
        text=choice["text"].strip(),
        tokens=told["usage"]["completion_tokens"],
        seconds=seconds,
        cut=choice["finish_reason"] == "length",
    )


def _same_folder(a: str, b: str) -> bool:
    return Path(a).resolve() == Path(b).resolve()


def _total(seconds: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=seconds)
