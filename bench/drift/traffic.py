"""Simulated traffic of an application, and the drifts that are injected into it.

A `Traffic` says what people ask and how it goes; `draw` makes a sample of so many interactions of
it. Lengths and times are lognormal (as in public chat logs), embeddings lie around their topic's
centre, and columns depend on each other as they do in life: tokens follow characters, cost follows
tokens. Pure; knows no test.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from monitoring.drift.sample import Floats, Sample, Vectors

WIDTH = 384  # of the sentence encoder that Ratchet brings
SPREAD = 1.2  # of prompts around their topic's centre, whose length is 1
CHARS_PER_TOKEN = 4.2
NEW_TOPIC = 12
Places = NDArray[np.int64]
LANGUAGES = ("en", "de", "fr", "es")

TOPICS = (0.2, 0.15, 0.12, 0.1, 0.1, 0.08, 0.07, 0.06, 0.05, 0.04, 0.02, 0.01)


@dataclass(frozen=True)
class Traffic:
    """What an application's interactions are like."""

    topics: tuple[float, ...] = (
        0.2,
        0.15,
        0.12,
        0.1,
        0.1,
        0.08,
        0.07,
        0.06,
        0.05,
        0.04,
        0.02,
        0.01,
    )
    new_topic: float = 0.0  # share of a subject that the others do not have
    languages: tuple[float, ...] = (0.85, 0.08, 0.05, 0.02)
    length: float = 1.0  # factor of prompts
    refusal: float = 0.02
    rated: float = 0.3
    rating: float = 0.80
    error: float = 0.005


HEALTHY = Traffic()
# The sizes that a check is to find within the windows of `figures.STATED`: our choice
DRIFTS: Mapping[str, Traffic] = {
    "new topic +10 %": replace(HEALTHY, new_topic=0.10),
    "new topic +20 %": replace(HEALTHY, new_topic=0.20),
    "new topic +30 %": replace(HEALTHY, new_topic=0.30),
    "known topic +10 %": replace(
        HEALTHY,
        topics=(0.1778, 0.1333, 0.1067, 0.2, *(0.889 * share for share in TOPICS[4:])),
    ),
    "prompts x1.5": replace(HEALTHY, length=1.5),
    "language mix": replace(HEALTHY, languages=(0.70, 0.18, 0.08, 0.04)),
    "rating -5 points": replace(HEALTHY, rating=0.75),
    "rating -10 points": replace(HEALTHY, rating=0.70),
    "refusals +5 points": replace(HEALTHY, refusal=0.07),
}


def centres(seed: int) -> Vectors:
    """Return the directions of all topics, the new one last."""
    vectors = np.random.default_rng(seed).standard_normal((NEW_TOPIC + 1, WIDTH))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def draw(
    traffic: Traffic, rows: int, generator: np.random.Generator, middles: Vectors, vectors: int
) -> Sample:
    """Return `rows` interactions, the first `vectors` of them with what they mean."""
    weights = np.array([*traffic.topics, 0.0])
    weights *= (1.0 - traffic.new_topic) / weights.sum()
    weights[NEW_TOPIC] = traffic.new_topic
    topic = generator.choice(len(weights), rows, p=weights)
    chars = generator.lognormal(4.6, 0.7, rows) * traffic.length * (1.0 + 0.05 * (topic % 4))
    answer = generator.lognormal(5.5, 0.6, rows)
    seconds = 0.2 + answer * 0.004 * generator.lognormal(0.0, 0.3, rows)
    numbers = {
        "prompt_chars": np.rint(chars),
        "prompt_tokens": np.rint(chars / CHARS_PER_TOKEN) + 1.0,
        "answer_chars": np.rint(answer),
        "answer_tokens": np.rint(answer / CHARS_PER_TOKEN) + 1.0,
        "novelty": _novelty(topic == NEW_TOPIC, generator),
        "latency_s": seconds,
        "ttft_s": 0.1 * generator.lognormal(0.0, 0.4, rows),
        "cost": (np.rint(chars) + 3.0 * np.rint(answer)) * 1e-7,
    }
    streams = draw_streams(traffic, rows, generator).flags
    flags = {
        "refusal": _flags(traffic.refusal, rows, generator),
        "format_valid": _flags(0.97, rows, generator),
        "rated": 1.0 - np.isnan(streams["rating"]),
        **streams,
    }
    languages = np.array(LANGUAGES)[
        generator.choice(len(LANGUAGES), rows, p=np.array(traffic.languages))
    ]
    labels = {"topic": topic.astype(np.str_), "language": languages}
    return Sample(numbers, flags, labels, _embedding(topic[:vectors], middles, generator))


def draw_streams(traffic: Traffic, rows: int, generator: np.random.Generator) -> Sample:
    """Return ratings and errors alone: what slow losses are looked for in."""
    rating = _flags(traffic.rating, rows, generator)
    rated = generator.random(rows) < traffic.rated
    error = _flags(traffic.error, rows, generator)
    return Sample(flags={"rating": np.where(rated, rating, np.nan), "error": error})


def _flags(share: float, rows: int, generator: np.random.Generator) -> Floats:
    return (generator.random(rows) < share).astype(np.float64)


def _novelty(new: NDArray[np.bool_], generator: np.random.Generator) -> Floats:
    """Return distances to the training data: subjects that it has are nearer."""
    middle = np.where(new, 0.65, 0.35)
    return np.clip(middle + 0.1 * generator.standard_normal(len(new)), 0.0, 1.0)


def _embedding(topic: Places, middles: Vectors, generator: np.random.Generator) -> Vectors:
    noise = generator.standard_normal((len(topic), WIDTH), dtype=np.float32)
    vectors = middles[topic] + noise * np.float32(SPREAD / np.sqrt(WIDTH))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
