"""A store full of judged interactions, and the truth about them kept beside: `write_corpus`.

    FOLDER/store.db      interactions and feedback, as ingest writes them
    FOLDER/suite.jsonl   an evaluation suite, of which some interactions ask items
    FOLDER/truth.jsonl   one line for each plant

Clean interactions get all kinds of signals, plants are praised: what is left of them in a dataset
was not found. People are many, and a few of them write much. The same seed gives the same rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from bench.curation.plants import COPIES, SHARES, Draft, Planter, Question, suite
from bench.curation.writing import Writer
from feedback.store import Store

APPLICATION = "desk"
SEED = 5
START = datetime(2026, 1, 5, tzinfo=UTC)
EVERY_S = 7.0  # an interaction, so a million in eleven weeks
BATCH_ROWS = 10_000
PER_SUBJECT = 20  # interactions, on average
LOUDNESS = 2.5  # exponent of the draw of a subject: the loudest of 5,000 writes 3 % of all
NOBODY_SHARE = 0.03  # have no subject
USUAL_SHARE = 0.003  # asked in the very words of others, answered in their own
RECENT = 5_000  # interactions that copies are made of
OLD_ADAPTER_SHARE = 0.7

SIGNALS: Mapping[str, float] = {
    "thumbs_up": 0.46,
    "thumbs_down": 0.12,
    "good_rating": 0.14,
    "bad_rating": 0.06,
    "correction": 0.08,
    "preference": 0.04,
    "regenerated": 0.04,
    "flag": 0.02,
    "contradiction": 0.01,
    "anomaly": 0.02,
    "cut": 0.01,
}

INTERACTION_COLUMNS = (
    *("id", "application", "subject", "adapter", "arm", "rollout_id", "step", "endpoint"),
    *("requested_model", "messages", "answer", "status", "error", "finish_reason", "stream"),
    *("parameters", "prompt_tokens", "completion_tokens", "latency_s", "ttft_s", "itl_s"),
    *("cost", "started_at", "event_id", "shadow_of", "redactions", "extra"),
)
FEEDBACK_COLUMNS = (
    *("event_id", "client_id", "interaction_id", "application", "subject", "kind"),
    *("retracted", "thumbs", "rating", "name", "number", "text", "other", "effective"),
    *("given_at", "redactions", "extra"),
)

_ENCODER = msgspec.json.Encoder()


class Plant(msgspec.Struct, frozen=True):
    """What is true of one planted interaction; of a copy, `of` is the original."""

    id: str
    kind: str
    of: str | None = None
    similarity: float | None = None
    entity: str | None = None
    value: str | None = None
    mended: str | None = None
    language: str | None = None
    item: int | None = None
    way: str | None = None


@dataclass(frozen=True, slots=True)
class Corpus:
    """Where a corpus is, and how much it holds."""

    folder: Path
    interactions: int

    @property
    def store_url(self) -> str:
        """The address of its store."""
        return f"sqlite:///{self.folder / 'store.db'}"

    @property
    def suite(self) -> Path:
        """The evaluation suite's file."""
        return self.folder / "suite.jsonl"

    def plants(self) -> list[Plant]:
        """Return the truth."""
        lines = (self.folder / "truth.jsonl").read_bytes().splitlines()
        return [msgspec.json.decode(line, type=Plant) for line in lines]

    def items(self) -> list[Question]:
        """Return the suite's items."""
        lines = self.suite.read_bytes().splitlines()
        return [msgspec.json.decode(line, type=Question) for line in lines]


def write_corpus(folder: Path, interactions: int, seed: int = SEED) -> Corpus:
    """Write a corpus of so many interactions into `folder` and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    corpus = Corpus(folder, interactions)
    made = _Made(interactions, Random(seed))
    _write_lines(corpus.suite, made.items)
    store = Store(corpus.store_url)
    try:
        store.create_tables()
        for _ in made.batches():
            _insert(store, made.rows)
    finally:
        store.close()
    _write_lines(folder / "truth.jsonl", made.truth)
    return corpus


@dataclass(slots=True)
class _Rows:
    """Rows that wait to be written."""

    interactions: list[tuple[Any, ...]] = field(default_factory=list[tuple[Any, ...]])
    feedback: list[tuple[Any, ...]] = field(default_factory=list[tuple[Any, ...]])
    odd: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])  # marks and votes


class _Made:
    """The interactions so far, and what is planted in them."""

    def __init__(self, interactions: int, random: Random) -> None:
        self._random = random
        self._writer = Writer(random)
        self.items = suite(self._writer)
        self._planter = Planter(self._writer, random, self.items)
        self._subjects = [
            f"{random.getrandbits(128):032x}" for _ in range(max(30, interactions // PER_SUBJECT))
        ]
        self._wanted = interactions
        self._count = 0
        self._votes = 0
        self._recent: list[tuple[str, Draft]] = []
        self.truth: list[Plant] = []
        self.rows = _Rows()

    def batches(self) -> Iterator[None]:
        """Fill `rows` again and again, until all interactions are made."""
        while self._count < self._wanted:
            self.rows = _Rows()
            until = min(self._wanted, self._count + BATCH_ROWS)
            while self._count < until:
                self._one()
            yield

    def _one(self) -> None:
        plant = _drawn(_PLANTS, self._random.random())
        if plant is None:
            self._clean()
        elif plant in COPIES:
            self._copy(plant)
        else:
            draft = self._draft()
            self._planter.plant(plant, draft)
            self._praised(plant, draft)

    def _copy(self, kind: str) -> None:
        if not self._recent:
            self._clean()
            return
        of, original = self._recent[int(len(self._recent) * self._random.random())]
        draft = self._planter.copy(kind, original)
        if draft is None:  # too short for the similarity that is wanted
            self._clean()
            return
        self._praised(kind, draft, of)

    def _praised(self, kind: str, draft: Draft, of: str | None = None) -> None:
        subject = self._subject()
        id_ = self._interaction(draft, subject)
        self._vote(id_, subject, "thumbs", thumbs=True)
        self.truth.append(Plant(id_, kind, of, **draft.told))

    def _draft(self) -> Draft:
        topic = self._writer.topic()
        messages = self._writer.conversation(topic)
        if self._random.random() < USUAL_SHARE:
            messages[-1]["content"] = self._writer.usual()
        return Draft(
            topic, messages, self._writer.answer(topic, 1 + int(4 * self._random.random()))
        )

    def _clean(self) -> None:
        draft, subject = self._draft(), self._subject()
        signal = _drawn(_SIGNALS, self._random.random()) or "thumbs_up"
        cut = {"finish_reason": "length"} if signal == "cut" else {}
        id_ = self._interaction(draft, subject, **cut)
        self._judge(signal, id_, subject, draft)
        if signal == "thumbs_up" and len(draft.question["content"]) > 60:
            self._remember(id_, draft)

    def _judge(self, signal: str, id_: str, subject: str | None, draft: Draft) -> None:
        say = self._vote
        if signal in ("thumbs_up", "cut"):
            say(id_, subject, "thumbs", thumbs=True)
        elif signal == "thumbs_down":
            say(id_, subject, "thumbs", thumbs=False)
        elif signal in ("good_rating", "bad_rating"):
            lowest = 4 if signal == "good_rating" else 1
            say(id_, subject, "rating", rating=lowest + int(2 * self._random.random()))
        elif signal == "correction":
            say(id_, subject, "correction", text=self._writer.answer(draft.topic, 2))
        elif signal in ("preference", "regenerated"):
            self._second(signal, id_, subject, draft)
        elif signal == "flag":
            say(id_, subject, "flag", name="harmful")
        elif signal == "contradiction":
            say(id_, subject, "thumbs", thumbs=True)
            say(id_, subject, "rating", rating=1)
        else:
            vote = say(id_, subject, "thumbs", thumbs=True)
            self.rows.odd.append(("burst", vote))

    def _second(self, signal: str, id_: str, subject: str | None, draft: Draft) -> None:
        """Let the same question have another answer, and one of the two be taken."""
        other = Draft(draft.topic, draft.messages, self._writer.answer(draft.topic, 2))
        other_id = self._interaction(other, subject)
        self._vote(id_, subject, signal, other=other_id)
        if signal == "regenerated":
            self._vote(other_id, subject, "accepted")

    def _remember(self, id_: str, draft: Draft) -> None:
        if len(self._recent) < RECENT:
            self._recent.append((id_, draft))
        elif self._random.random() < 0.1:
            self._recent[int(RECENT * self._random.random())] = (id_, draft)

    def _subject(self) -> str | None:
        if self._random.random() < NOBODY_SHARE:
            return None
        return self._subjects[int(len(self._subjects) * self._random.random() ** LOUDNESS)]

    def _interaction(self, draft: Draft, subject: str | None, finish_reason: str = "stop") -> str:
        number = self._count
        self._count += 1
        id_ = f"019b8000-{number:08x}"
        adapter = "desk--v1" if self._random.random() < OLD_ADAPTER_SHARE else "desk--v2"
        self.rows.interactions.append(
            (
                *(id_, APPLICATION, subject, adapter, "baseline", None, None),
                *("/v1/chat/completions", APPLICATION, _json(draft.messages), draft.answer, "ok"),
                *(
                    None,
                    finish_reason,
                    False,
                    "{}",
                    150,
                    70,
                    0.8,
                    0.1,
                    0.01,
                    None,
                    _instant(number),
                ),
                *(f"e{id_}", None, "{}", "{}"),
            )
        )
        return id_

    def _vote(
        self,
        id_: str,
        subject: str | None,
        kind: str,
        **value: Any,
    ) -> str:
        event = f"f019b8000-{self._votes:08x}"
        self._votes += 1
        given = [value.get(name) for name in ("thumbs", "rating", "name")]
        self.rows.feedback.append(
            (
                *(event, event, id_, APPLICATION, subject, kind, False, *given, None),
                *(value.get("text"), value.get("other"), True, _instant(self._count + 5)),
                *("{}", "{}"),
            )
        )
        return event


def _insert(store: Store, rows: _Rows) -> None:
    with store.engine.begin() as connection:
        for table, columns, values in (
            ("interaction", INTERACTION_COLUMNS, rows.interactions),
            ("feedback", FEEDBACK_COLUMNS, rows.feedback),
        ):
            names, marks = ", ".join(columns), ", ".join("?" * len(columns))
            connection.exec_driver_sql(f"INSERT INTO {table} ({names}) VALUES ({marks})", values)
        if rows.odd:
            connection.exec_driver_sql(
                "UPDATE feedback SET anomaly = ? WHERE event_id = ?", rows.odd
            )


def _instant(number: int) -> str:
    """Return the time of the interaction with that number, as SQLAlchemy writes it."""
    at = START + timedelta(seconds=EVERY_S * number)
    return at.replace(tzinfo=None).isoformat(" ", "microseconds")


def _json(value: Any) -> str:
    return _ENCODER.encode(value).decode()


def _write_lines(path: Path, values: list[Any]) -> None:
    path.write_bytes(b"".join(_ENCODER.encode(value) + b"\n" for value in values))


def _steps(shares: Mapping[str, float]) -> list[tuple[float, str]]:
    return [*zip(accumulate(shares.values()), shares, strict=True)]


def _drawn(steps: list[tuple[float, str]], draw: float) -> str | None:
    return next((name for limit, name in steps if draw < limit), None)


_PLANTS, _SIGNALS = _steps(SHARES), _steps(SIGNALS)
