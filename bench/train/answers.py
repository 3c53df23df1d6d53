"""The second part: the gate's answers by vLLM in batches, beside `generate` of transformers.

The same adapter (the one that was just trained, else the base model), prompts, greedy choice and
number of tokens; `generate` in batches of 16 with the adapter merged, as is fastest for it. Both
are warmed up; loading a model and starting the engine are told apart. Rounds alternate.
"""

from __future__ import annotations

import asyncio
import json
import socket
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet

from bench.train.children import WEIGHTS, run
from bench.train.corpus import write_corpus
from bench.train.figures import Extent
from core.settings import EngineSettings, Settings
from serving.engine_client import EngineClient, EngineRequest
from serving.hardware import BASE_MODEL_NAME, detect
from serving.launcher import engine_command, supervise

ADAPTER = "bench--v1"
BATCH = 16  # prompts that `generate` takes at once. Source: retrain/gate/evaluation.py, measured

Say = Callable[[str], None]


def measure_answers(folder: Path, model: Path, extent: Extent, say: Say) -> dict[str, Any]:
    """Return answers/s of both in turn, and their ratio."""
    dataset = write_corpus(folder / "questions", train=extent.prompts, heldout=extent.heldout)
    rows = parquet.read_table(dataset / "train.parquet").column("messages").to_pylist()
    prompts = [row[:-1] for row in rows]
    trained = folder / "training-0" / "adapter"
    adapter = trained if (trained / WEIGHTS).is_file() else None
    engine: list[float] = []
    generate: list[float] = []
    for number in range(extent.answer_rounds):
        rate, start_s = asyncio.run(_by_engine(folder, model, adapter, prompts, extent))
        engine.append(rate)
        generate.append(_by_generate(folder, model, adapter, prompts, extent))
        say(f"round {number + 1}: vLLM {engine[-1]:.2f}, generate {generate[-1]:.2f} answers/s")
        say(f"the engine took {start_s:.0f} s to start")
    return {
        "prompts": len(prompts),
        "tokens_each": extent.answer_tokens,
        "adapter": adapter is not None,
        "engine_answers_per_s": engine,
        "generate_answers_per_s": generate,
        "ratio": statistics.median(a / b for a, b in zip(engine, generate, strict=True)),
    }


async def _by_engine(
    folder: Path,
    model: Path,
    adapter: Path | None,
    prompts: Sequence[list[dict[str, str]]],
    extent: Extent,
) -> tuple[float, float]:
    """Return answers/s of a vLLM started as Ratchet starts it, and the seconds of its start."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    engine = EngineSettings(model=model, port=port, max_concurrent=2 * BATCH)
    settings = Settings(data_dir=folder, engine=engine)
    ready, began = asyncio.Event(), time.monotonic()
    running = asyncio.create_task(
        supervise(settings, engine_command(engine, detect()), on_ready=ready.set)
    )
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
    try:
        if running.done():
            running.result()
        start_s = time.monotonic() - began
        async with EngineClient(settings.engine.url) as client:
            if adapter is not None:
                await client.load(ADAPTER, str(adapter))
            name = BASE_MODEL_NAME if adapter is None else ADAPTER
            await answer_all(client, name, prompts[:BATCH], extent.answer_tokens)
            began = time.monotonic()
            await answer_all(client, name, prompts, extent.answer_tokens)
            return len(prompts) / (time.monotonic() - began), start_s
    finally:
        running.cancel()
        waiting.cancel()
        await asyncio.gather(running, waiting, return_exceptions=True)


async def answer_all(
    client: EngineClient, name: str, prompts: Sequence[list[dict[str, str]]], tokens: int
) -> list[str]:
    """Return the greedy answers of a model of the engine, `2 * BATCH` asked at once."""
    room = asyncio.Semaphore(2 * BATCH)

    async def answer(messages: list[dict[str, str]]) -> str:
        body = {
            "model": name,
            "messages": messages,
            "max_tokens": tokens,
            "temperature": 0.0,
            "ignore_eos": True,
        }
        async with room:
            request = EngineRequest("/v1/chat/completions", json.dumps(body).encode(), 600.0)
            opened = await client.open(request)
            answered: dict[str, Any] = json.loads(await opened.read())
        return answered["choices"][0]["message"]["content"]

    return list(await asyncio.gather(*(answer(messages) for messages in prompts)))


def _by_generate(
    folder: Path,
    model: Path,
    adapter: Path | None,
    prompts: Sequence[list[dict[str, str]]],
    extent: Extent,
) -> float:
    asked, told = folder / "asked.json", folder / "generate.log"
    asked.write_text(json.dumps(list(prompts)))
    words = [str(model), str(adapter or ""), str(asked), str(extent.answer_tokens), str(BATCH)]
    run("bench.train.generate", words, told)
    last = told.read_text().strip().splitlines()[-1]
    rate: float = json.loads(last)["answers_per_s"]
    return rate
