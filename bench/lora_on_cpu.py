"""What an answer with a LoRA costs on CPU, as a ratio to a base answer in the same run.

Twice, on the real vLLM: with its own CPU path, and with `serving/cpu_lora.py`, as Ratchet starts
it. Random weights: the cost of a LoRA does not depend on what it has learnt.

    .venv/bin/python -m bench.lora_on_cpu [--model FOLDER] [--concurrent 16] [--rounds 3]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from core.settings import EngineSettings, Settings
from serving.engine_client import EngineClient, EngineRequest
from serving.hardware import BASE_MODEL_NAME, WORKER_EXTENSION, detect
from serving.launcher import Command, engine_command, supervise
from tests.fakes.lora import write_lora

TOKENS = 32  # of each answer
ADAPTERS = ("bench--v1", "bench--v2")
# A batch as it comes in a canary: base model, one adapter, or both adapters at once
BATCHES: dict[str, tuple[str, ...]] = {
    "base": (BASE_MODEL_NAME,),
    "one LoRA": ADAPTERS[:1],
    "two LoRAs": ADAPTERS,
    "base and LoRA": (BASE_MODEL_NAME, ADAPTERS[0]),
}


def plain(command: Command) -> Command:
    """Return the command without Ratchet's worker extension."""
    at = command.arguments.index(WORKER_EXTENSION)
    return replace(command, arguments=command.arguments[: at - 1] + command.arguments[at + 1 :])


async def tokens_per_s(client: EngineClient, models: Sequence[str], concurrent: int) -> float:
    """Return the tokens generated per second by `concurrent` answers of `models` in turn."""

    async def answer(number: int) -> None:
        body = {
            "model": models[number % len(models)],
            "prompt": f"Question {number} of {time.monotonic_ns()}: how do I reset my password?",
            "max_tokens": TOKENS,
            "ignore_eos": True,
        }
        request = EngineRequest("/v1/completions", json.dumps(body).encode())
        opened = await client.open(request)
        await opened.read()

    began = time.monotonic()
    await asyncio.gather(*(answer(number) for number in range(concurrent)))
    return concurrent * TOKENS / (time.monotonic() - began)


async def measure(
    settings: Settings, command: Command, folder: Path, arguments: argparse.Namespace
) -> dict[str, float]:
    """Start the engine by `command`; return the median tokens/s of each kind of batch."""
    ready = asyncio.Event()
    engine = asyncio.create_task(supervise(settings, command, on_ready=ready.set))
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait({engine, waiting}, return_when=asyncio.FIRST_COMPLETED)
    try:
        if engine.done():
            engine.result()
        async with EngineClient(settings.engine.url) as client:
            for name in ADAPTERS:
                await client.load(name, str(folder / name))
            rates: dict[str, list[float]] = {name: [] for name in BATCHES}
            for number in range(arguments.rounds + 1):  # the first warms up
                for name, models in BATCHES.items():
                    rate = await tokens_per_s(client, models, arguments.concurrent)
                    rates[name] += [rate] if number else []
        return {name: statistics.median(values) for name, values in rates.items()}
    finally:
        engine.cancel()
        await asyncio.gather(engine, return_exceptions=True)


def main() -> None:
    """Measure both and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", type=Path, default=Path("models/smollm2-135m-instruct"))
    parser.add_argument("--concurrent", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rank", type=int, default=16)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for seed, name in enumerate(ADAPTERS):
            write_lora(folder / name, arguments.model, rank=arguments.rank, seed=seed)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        engine = EngineSettings(
            model=arguments.model.resolve(),
            port=port,
            max_lora_rank=arguments.rank,
            extra_arguments=("--disable-log-stats",),
        )
        settings = Settings(data_dir=folder, engine=engine)
        ours = engine_command(engine, detect())
        for name, command in (("vLLM's own", plain(ours)), ("cpu_lora", ours)):
            rates = asyncio.run(measure(settings, command, folder, arguments))
            for batch, rate in rates.items():
                print(f"{name:<12} {batch:<14} {rate:6.1f} tokens/s  {rates['base'] / rate:4.2f} x")


if __name__ == "__main__":
    main()
