"""CURATE, beside real data: all methods of augmentation in one call.

Real candidates come in; new ones and an account of requests, products and refusals go out. Each
method gets an equal part of the room that `max_share` leaves, so no more is asked for than may be
kept. Texts go to the server as they are: call it with rows whose personal data are gone already,
and pass what it returns through the same stages.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import structlog

from core.curation_settings import AugmentationSettings
from curation.augmentation.back_translation import Languages, back_translation
from curation.augmentation.cap import OVER_SHARE, in_turns, is_written, room_for
from curation.augmentation.failures import failures
from curation.augmentation.paraphrase import paraphrase
from curation.augmentation.products import AUGMENTED, Progress, Tally, Written
from curation.augmentation.synthetic import Synthesis, synthetic
from curation.augmentation.writer import Usage, Writer
from curation.table import DROPS, Outcome, Source, Table, Why, pc, sieve

Method = Callable[[int], Written]

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Account:
    """What augmentation did: who wrote, for how many real rows, what came of it, at what cost."""

    writer: str
    real_rows: int
    room: int  # written rows that the share still allows
    made: int  # rows that are given; the methods' own counts are before the room is looked at
    tallies: tuple[Tally, ...]
    usage: Usage
    drops: Table  # DROPS: one for each refused product

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for a manifest."""
        return {
            "writer": self.writer,
            "real_rows": self.real_rows,
            "room": self.room,
            "made": self.made,
            "methods": [tally.as_dict() for tally in self.tallies],
            "usage": self.usage.as_dict(),
        }


def augment(
    table: Table,
    settings: AugmentationSettings,
    progress: Progress | None = None,
    *,
    failed: Table | None = None,
) -> tuple[Table, Account]:
    """Return new candidates (`AUGMENTED`) beside those of `table`, and the account; none when off.

    `failed` are items that an adapter failed at the gate, for the method "failures": as
    demonstrations whose last message is the right answer.

    Raises: SettingsError when the client is not installed, or the server knows neither key nor
    model; EngineUnavailable when it does not answer.
    """
    written = pc.sum(is_written(table)).as_py() or 0
    real = table.num_rows - written
    room = max(0, room_for(real, settings.max_share) - written)
    methods = dict.fromkeys(settings.methods)
    if failed is None:
        methods.pop("failures", None)
    if not settings.enabled or room == 0 or not methods:
        account = Account(settings.model, real, room, 0, (), Usage(), DROPS.empty_table())
        return AUGMENTED.empty_table(), account
    share = -(-room // len(methods))
    with Writer(settings) as writer:
        known = _methods(table, failed, settings, writer)
        parts: list[Written] = []
        for number, name in enumerate(methods):
            if progress is not None:
                progress(name, number, len(methods))
            parts.append(known[name](share))
        usage = writer.usage
    outcome = _within(pa.concat_tables([part.rows for part in parts]), room)
    rows = outcome.kept
    drops = pa.concat_tables([*(part.drops for part in parts), outcome.drops])
    tallies = tuple(part.tally for part in parts)
    account = Account(settings.model, real, room, rows.num_rows, tallies, usage, drops)
    log.info("candidates_augmented", **account.as_dict())
    return rows, account


def _methods(
    table: Table, failed: Table | None, settings: AugmentationSettings, writer: Writer
) -> dict[Source, Method]:
    """Return each method as a function of how many products it may make."""
    languages = Languages(settings.pivot_language, settings.language)
    each = settings.examples_per_request
    synthesis = Synthesis(settings.task, settings.few_shot, each)
    methods: dict[Source, Method] = {
        "paraphrase": lambda limit: paraphrase(table, writer, limit),
        "back_translation": lambda limit: back_translation(table, writer, languages, limit),
        "synthetic": lambda limit: synthetic(table, writer, synthesis, limit),
    }
    if failed is not None:
        methods["failures"] = lambda limit: failures(failed, writer, each, limit)
    return methods


def _within(rows: Table, room: int) -> Outcome:
    """Return at most `room` rows, methods and seeds taking turns, and the others as drops."""
    sources, seeds = rows["source"].to_pylist(), rows["interaction_id"].to_pylist()
    groups = [f"{source} {seed}" for source, seed in zip(sources, seeds, strict=True)]
    over = set(in_turns(groups, rows["candidate_id"].to_pylist())[room:])
    why = Why(OVER_SHARE, f"at most {room}")
    return sieve(rows, [why if index in over else None for index in range(rows.num_rows)])
