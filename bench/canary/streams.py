"""Simulated traffic: for many rollouts at once, what had been counted at each look.

A scenario and a seed come in; out come arrays over rollouts and looks, as `monitoring.counts` would
have counted: one vote a subject in the arm that its hash settles, at most so many exposures of a
subject and step, subjects where they were first seen. Feedback comes with the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.canary.scenarios import FLAGS, Arm, Scenario
from core.canary_settings import CanarySettings

STEP_ANSWERS = (400, 800)  # of the steps before the last, of all traffic

Bools = NDArray[np.bool_]
Ints = NDArray[np.int32]
Floats = NDArray[np.float64]
Seed = int | Sequence[int]


@dataclass(frozen=True)
class Streams:
    """Counts of one arm each as (rollouts, looks), each step's from its beginning on."""

    baseline: dict[str, Ints]
    canary: dict[str, Ints]
    step: Ints  # of each look
    answers: Ints  # so far, at each look


@dataclass(frozen=True)
class _Answers:
    """What happened, answer by answer: (rollouts, answers)."""

    canary: Bools
    arrived: Bools  # in the log
    counted: Bools  # arrived, and within the subject's limit
    good: Bools
    rated: Bools
    vote: Bools
    new: Bools  # the first of its subject


def steps_of(answers: int, rules: CanarySettings) -> Ints:
    """Return the step of each answer of a rollout."""
    ends = np.cumsum(STEP_ANSWERS)[: len(rules.shares) - 1]
    return np.searchsorted(ends, np.arange(answers), side="right").astype(np.int32)


def simulate(
    scenario: Scenario,
    rules: CanarySettings,
    *,
    rollouts: int,
    answers: int,
    every: int,
    seed: Seed,
) -> Streams:
    """Return the counts of so many rollouts at a look after every `every` answers."""
    rng = np.random.default_rng(seed)
    step = steps_of(answers, rules)
    seen = _answers(rng, scenario, rules, (rollouts, answers), step)
    at = np.arange(every - 1, answers, every)
    begins = np.flatnonzero(np.diff(step, prepend=-1))  # the first answer of each step
    events = _events(rng, scenario, seen)
    arms = {
        name: {event: _at_looks(hit & side, at, step, begins) for event, hit in events.items()}
        for name, side in (("baseline", ~seen.canary), ("canary", seen.canary))
    }
    return Streams(arms["baseline"], arms["canary"], step[at], (at + 1).astype(np.int32))


def _at_looks(hits: Bools, at: NDArray[np.int64], step: Ints, begins: NDArray[np.int64]) -> Ints:
    """Return how many hits there were since the step began, at each look."""
    total = np.cumsum(hits, axis=1, dtype=np.int32)
    before = np.where(begins > 0, total[:, begins - 1], 0)
    return total[:, at] - before[:, step[at]]


def _answers(
    rng: np.random.Generator,
    scenario: Scenario,
    rules: CanarySettings,
    shape: tuple[int, int],
    step: Ints,
) -> _Answers:
    share = np.asarray(rules.shares)[step]
    subject, place, spam, taste = _people(rng, scenario, shape)
    canary = place < share
    chance = np.where(canary, scenario.canary.good, scenario.baseline.good)
    wave = scenario.drift * np.sin(np.linspace(0.0, 4.0 * np.pi, shape[1]))
    good = (rng.random(shape) < np.clip(chance + wave + taste, 0.0, 1.0)) & ~spam
    says = _pick(canary, good, scenario.baseline, scenario.canary)
    rated = (rng.random(shape) < says) | spam
    arrived = ~(canary & (rng.random(shape) < scenario.lost))
    votes = rated & arrived & (canary | (place >= rules.shares[-1]))
    if subject is None:
        return _Answers(canary, arrived, arrived, good, rated, votes, arrived)
    counted = arrived & _within(subject, step, arrived, rules.exposures_per_subject)
    new = _firsts(subject, arrived)
    return _Answers(canary, arrived, counted, good, rated, _firsts(subject, votes), new)


def _people(
    rng: np.random.Generator, scenario: Scenario, shape: tuple[int, int]
) -> tuple[NDArray[np.int64] | None, Floats, Bools, Floats]:
    """Return who asks (None: everyone once), their places, who spams, and their tastes."""
    crowd = scenario.crowd
    if crowd is None:
        nobody = np.zeros((1, 1))
        return None, rng.random(shape), nobody.astype(bool), nobody
    subject = rng.integers(crowd.spammers, crowd.people, shape)
    if crowd.spammers:
        spam = rng.random(shape) < crowd.spam
        subject = np.where(spam, rng.integers(0, crowd.spammers, shape), subject)
    row = np.arange(shape[0])[:, None]
    place = rng.random((shape[0], crowd.people))[row, subject]
    taste = rng.uniform(-crowd.taste, crowd.taste, (shape[0], crowd.people))[row, subject]
    return subject, place, subject < crowd.spammers, taste


def _pick(canary: Bools, good: Bools, baseline: Arm, own: Arm) -> Floats:
    """Return the chance of a rating."""
    content = np.where(canary, own.rate_good, baseline.rate_good)
    return np.where(good, content, np.where(canary, own.rate_bad, baseline.rate_bad))


def _firsts(subject: NDArray[np.int64], wanted: Bools) -> Bools:
    """Return each subject's first wanted answer."""
    first = np.zeros_like(wanted)
    for row in range(len(subject)):
        places = np.flatnonzero(wanted[row])
        _, index = np.unique(subject[row, places], return_index=True)
        first[row, places[index]] = True
    return first


def _within(subject: NDArray[np.int64], step: Ints, arrived: Bools, most: int) -> Bools:
    """Return which answers are among the first `most` of their subject and step."""
    within = np.zeros_like(arrived)
    for row in range(len(subject)):
        places = np.flatnonzero(arrived[row])
        keys = subject[row, places] * (int(step.max()) + 1) + step[places]
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        begins = np.flatnonzero(np.diff(ordered, prepend=-1))
        runs = np.diff(np.append(begins, len(ordered)))
        rank = np.arange(len(ordered)) - np.repeat(begins, runs)
        within[row, places[order]] = rank < most
    return within


def _events(rng: np.random.Generator, scenario: Scenario, seen: _Answers) -> dict[str, Bools]:
    flagged = {
        name: seen.counted
        & (
            rng.random(seen.canary.shape)
            < np.where(seen.canary, scenario.canary.events[name], scenario.baseline.events[name])
        )
        for name in FLAGS
    }
    return {
        "rated": seen.rated & seen.arrived,
        "votes": seen.vote,
        "good": seen.vote & seen.good,
        "exposures": seen.counted,
        "subjects": seen.new,
        "thumbs_down": seen.counted & seen.rated & ~seen.good,
        "unrated": seen.counted & ~seen.rated,
        **flagged,
    }
