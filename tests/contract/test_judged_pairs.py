"""Pairs that an AI judge decided: from the log to DPO's reader, on SQLite and PostgreSQL.

The judge is a rule behind a real server, asked by the real client: the longer answer wins.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import create_engine, text
from sqlmodel import select

from core.clock import utc_now
from core.curation_settings import CurationSettings, Preferences
from core.ids import new_id
from core.settings import ApplicationSettings, EngineSettings, Settings
from curation.augmentation.judging import Heard, judge_application
from curation.dataset_version import verify_dataset
from curation.judge import BY_PLACE, RUBRIC, TIE, UNREADABLE
from curation.judgements import expire_judged
from curation.pipeline import build_dataset
from feedback.erasure import Person, open_erasure
from feedback.events import (
    FEEDBACK_TOPIC,
    INTERACTIONS_TOPIC,
    FeedbackGiven,
    InteractionFinished,
    Message,
    encode,
)
from feedback.log.protocol import NewRecord
from feedback.subject_export import export_subject
from feedback.tables import DatasetVersion, Interaction, JudgedPair
from loop.dataset_facts import describe
from loop.dataset_view import draw_version
from loop.erasing import carry_out
from loop.wiring import Parts, open_parts
from retrain.preference_examples import Pair, load_pairs
from retrain.recipe import load_recipe
from retrain.training.preferences import chosen_pairs
from tests.fakes.engine import BASE
from tests.fakes.writer import FakeWriter, write_by_rule
from tests.preference_world import job
from tests.unit.curation_world import name, write_tokenizer

START = utc_now() - timedelta(days=3)
PEOPLE = 16
LONG = "It arrives on Monday, at the door of {who}, before noon."
SHORT = "Soon, {who}."


@dataclass
class World:
    """People who talk, and a judge; what is logged is ingested when it is asked for."""

    parts: Parts
    server: FakeWriter
    records: list[NewRecord] = field(default_factory=list[NewRecord])
    minute: int = 0

    def answered(self, who: int, said: str, answer: str, **columns: Any) -> str:
        """Log an interaction of a person; return its id."""
        self.minute += 1
        id_ = new_id()
        event = InteractionFinished(
            event_id=new_id(),
            interaction_id=id_,
            application="desk",
            subject=subject(who),
            endpoint="/v1/chat/completions",
            requested_model="desk",
            messages=[Message("user", said)],
            answer=answer,
            finish_reason="stop",
            latency_s=0.5,
            started_at=START + timedelta(minutes=self.minute),
            **columns,
        )
        self.records.append(NewRecord(INTERACTIONS_TOPIC, id_, encode(event)))
        return id_

    def say(self, who: int, id_: str, kind: str, **value: Any) -> None:
        """Log a person's feedback."""
        event = FeedbackGiven(
            event_id=new_id(),
            client_id=new_id(),
            interaction_id=id_,
            application="desk",
            subject=subject(who),
            kind=kind,  # type: ignore[arg-type] (any of them)
            given_at=START + timedelta(minutes=self.minute, seconds=30),
            **value,
        )
        self.records.append(NewRecord(FEEDBACK_TOPIC, id_, encode(event)))

    def praise(self, who: int) -> None:
        """Let a person approve an answer: a version needs demonstrations."""
        asked = f"{name(who)} asks where the invoice of {name(who + 7)} is"
        self.say(who, self.answered(who, asked, f"With {name(who)}."), "thumbs", thumbs=True)

    def twice(self, who: int, first: str = SHORT, second: str = LONG) -> tuple[str, str]:
        """Let a person ask again, and take neither answer; return both interactions."""
        asked = f"{name(who)} asks when the parcel of {name(who + 11)} comes"
        ids = tuple(self.answered(who, asked, one.format(who=name(who))) for one in (first, second))
        self.say(who, ids[0], "regenerated", other=ids[1])
        return ids[0], ids[1]

    def judge(self, limit: int = 100) -> Heard:
        """Ingest what was logged, and ask the judge."""
        self.ingest()
        return judge_application(self.parts.store, self.parts.settings, "desk", limit)

    def ingest(self) -> None:
        """Put into the store what was logged."""
        self.parts.log.append(self.records)
        self.records.clear()
        self.parts.ingest().drain()

    def build(self, preferences: Preferences = "both") -> DatasetVersion:
        """Make the next version."""
        rules = self.parts.settings.curation.model_copy(update={"preferences": preferences})
        settings = self.parts.settings.model_copy(update={"curation": rules})
        return build_dataset(self.parts.store, settings, "desk")

    def rows(self) -> list[JudgedPair]:
        """Return what is kept of the judge's words."""
        with self.parts.store.session() as session:
            return list(session.exec(select(JudgedPair)))


@pytest.fixture(params=["sqlite", "postgresql"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """Give sixteen people who approved an answer each, on each kind of store."""
    url = None
    if request.param == "postgresql":
        url = request.getfixturevalue("postgresql_url")
        engine = create_engine(url)
        with engine.begin() as connection:
            connection.execute(text("DROP SCHEMA public CASCADE"))
            connection.execute(text("CREATE SCHEMA public"))
        engine.dispose()
    with FakeWriter() as server:
        settings = Settings(
            data_dir=tmp_path / "data",
            store_url=url,
            applications={"desk": ApplicationSettings(api_key=SecretStr("key"))},
            engine=EngineSettings(model=write_tokenizer(tmp_path / "model")),
            # of so few pairs one is no loud person's
            curation=CurationSettings(min_examples=4, max_share_per_subject=1.0),
            augmentation=server.settings(),
        )
        with open_parts(settings) as parts:
            world = World(parts, server)
            for who in range(PEOPLE):
                world.praise(who)
            yield world


def subject(who: int) -> str:
    """Return the hash by which a person is known."""
    return f"{who:032x}"


def pairs_of(version: DatasetVersion) -> list[Pair]:
    """Return the pairs of all splits, as a training reads them."""
    folder = Path(version.path)
    return [pair for split in SPLITS for pair in load_pairs(folder, split)]


SPLITS = ("train", "validation", "test")


def chosen(pairs: Sequence[Pair], who: int) -> list[tuple[str, str | None]]:
    """Return what was chosen for a person, and by which source."""
    return [(p.chosen, p.source) for p in pairs if p.prompt[0]["content"].startswith(name(who))]


def test_judged_pairs_reach_the_reader_of_dpo(world: World) -> None:
    """Undecided pairs are labelled, kept with their provenance, curated, and learnt as AI's."""
    ids = {who: world.twice(who) for who in range(PEOPLE)}
    heard = world.judge()
    assert (heard.people_pairs, heard.new_pairs, heard.labelled) == (0, PEOPLE, PEOPLE)
    assert (heard.judge, heard.rubric, heard.agreement.compared) == (BASE, RUBRIC, 0)
    assert {(row.interaction_id, row.other) for row in world.rows()} == set(ids.values())
    said = {(row.judge, row.rubric, row.a_first, row.b_first, row.people) for row in world.rows()}
    assert said == {(BASE, RUBRIC, "b", "b", None)}  # asked in both orders; the longer is newer
    version = world.build()
    verify_dataset(version)
    found = pairs_of(version)
    assert {pair.by_ai for pair in found} == {True}
    assert all(chosen(found, who) == [(LONG.format(who=name(who)), "judge")] for who in ids)
    told = version.manifest["lineage"]["preferences"]
    assert (told["people"], told["judge"]) == (0, PEOPLE)
    assert [(own["judge"], own["rubric"], own["pairs"]) for own in told["judges"]] == [
        (BASE, RUBRIC, PEOPLE)
    ]
    recipe = load_recipe("dpo-lora")
    spec = job(Path("model"), Path(version.path), recipe)
    learnt = chosen_pairs(spec, recipe, "only")
    assert len(learnt.train) == version.manifest["kinds"]["pair"]["train"] >= 8
    again = world.judge()
    assert (again.new_pairs, again.known, again.usage.requests) == (0, PEOPLE, 0)
    assert world.build().id == version.id


def test_people_win_over_the_judge(world: World) -> None:
    """Whatever the judge said before or after; and each can be had alone."""
    ids = [world.twice(who) for who in range(PEOPLE)]
    for who in range(2):  # before the judge is asked
        world.say(who, ids[who][0], "preference", other=ids[who][1])
    heard = world.judge()
    assert (heard.people_pairs, heard.new_pairs) == (2, PEOPLE - 2)
    assert (heard.agreement.compared, heard.agreement.share) == (2, 0.0)
    world.say(2, ids[2][0], "preference", other=ids[2][1])
    world.ingest()
    version = world.build()
    both = pairs_of(version)
    assert Counter(pair.source for pair in both) == {"judge": PEOPLE - 3, "preference": 3}
    for who in range(3):
        assert chosen(both, who) == [(SHORT.format(who=name(who)), "preference")]
    recipe = load_recipe("dpo-lora")
    spec = job(Path("model"), Path(version.path), recipe)
    also, only = (chosen_pairs(spec, recipe, taken) for taken in ("also", "only"))
    assert {pair.by_ai for pair in only.train} == {True}
    assert {pair.key for pair in only.train} == {pair.key for pair in also.train if pair.by_ai}
    judges = pairs_of(world.build("judge"))
    assert Counter(pair.source for pair in judges) == {"judge": PEOPLE}
    assert chosen(judges, 0) == [(LONG.format(who=name(0)), "judge")]
    people = pairs_of(world.build("people"))
    assert Counter(pair.source for pair in people) == {"preference": 3}
    assert world.judge().agreement.compared == 3  # what was said late counts, too


def test_what_the_judge_cannot_tell_is_left_out(world: World) -> None:
    """A verdict that follows the place, a tie, what cannot be read: kept, and learnt by none."""
    for who in range(PEOPLE):
        world.twice(who, SHORT if who else LONG.replace("Monday", "Friday"))

    def reply(model: str, prompt: str) -> str:
        if f"{name(1)} asks when" in prompt:
            return json.dumps({"winner": "A"})
        if f"{name(2)} asks when" in prompt:
            return "The better answer is B."
        return write_by_rule(model, prompt)

    world.server.reply = reply
    heard = world.judge()
    assert heard.dropped == {TIE: 1, BY_PLACE: 1, UNREADABLE: 1}
    assert heard.labelled == PEOPLE - 3
    assert len(world.rows()) == PEOPLE
    version = world.build()
    found = pairs_of(version)
    assert len(found) == PEOPLE - 3
    assert chosen(found, 0) == chosen(found, 1) == chosen(found, 2) == []
    [select_stage, *_] = version.manifest["stages"]
    assert select_stage["dropped"]["the judge is of two minds"] == 3


def test_shadows_are_judged_and_what_is_flagged_is_not(world: World) -> None:
    """An unseen answer beside a seen one is a pair that nobody can have decided."""
    asked = f"{name(3)} asks when the letter of {name(5)} comes"
    seen = world.answered(3, asked, "Never, I fear.")
    world.answered(3, asked, "Tomorrow before noon, by the usual messenger.", shadow_of=seen)
    first, _ = world.twice(4)
    _, second = world.twice(5)
    world.say(4, first, "flag", name="abuse")
    heard = world.judge()
    assert heard.new_pairs == 2  # what was flagged before is shown to no judge
    world.say(5, second, "flag", name="abuse")
    world.ingest()
    version = world.build()
    [pair] = pairs_of(version)
    assert pair.chosen.startswith("Tomorrow")
    [select_stage, *_] = version.manifest["stages"]
    assert select_stage["dropped"]["flagged"] == 1


def test_people_s_corrections_are_what_the_judge_is_measured_on(world: World) -> None:
    """It agrees where the correction is longer; alone it decides those pairs, too."""
    for who in range(PEOPLE):
        asked = f"{name(who)} asks when the parcel of {name(who + 11)} comes"
        first, second = (LONG, SHORT) if who == 0 else (SHORT, LONG)
        id_ = world.answered(who, asked, first.format(who=name(who)))
        world.say(who, id_, "correction", text=second.format(who=name(who)))
    heard = world.judge(limit=12)
    assert (heard.people_pairs, heard.new_pairs, heard.labelled) == (12, 0, 0)
    heard = world.judge()
    assert (heard.people_pairs, heard.known, heard.agreement.compared) == (4, 12, PEOPLE)
    assert heard.agreement.share == 1 - 1 / PEOPLE
    assert {pair.source for pair in pairs_of(world.build())} == {"correction"}
    alone = pairs_of(world.build("judge"))
    assert {pair.source for pair in alone} == {"judge"}
    assert chosen(alone, 0) == [(LONG.format(who=name(0)), "judge")]


def test_an_erasure_takes_judged_pairs_too(world: World) -> None:
    """The row of the judge's words, and the examples that were made of them."""
    mine = world.twice(0)
    for who in range(1, PEOPLE):
        world.twice(who)
    world.judge()
    version = world.build()
    with world.parts.store.session() as session:
        person = Person("desk", subject(0))
        [held] = export_subject(session, person)["judged_pairs"]
        assert (held["interaction_id"], held["other"]) == mine
        erasure = open_erasure(session, person, new_id(), "an operator", utc_now())
        session.commit()
    done = carry_out(world.parts, erasure.id)
    assert done.counts["judged_pairs"] == 1
    assert {row.interaction_id for row in world.rows()}.isdisjoint(mine)
    with world.parts.store.session() as session:
        version = session.get_one(DatasetVersion, version.id)
        verify_dataset(version)
        found = pairs_of(version)
    assert len(found) == PEOPLE - 1
    assert chosen(found, 0) == []
    assert len(pairs_of(world.build())) == PEOPLE - 1


def test_judged_pairs_go_with_interactions_that_are_no_longer_kept(world: World) -> None:
    """Retention's business; before it is done a build makes nothing of them."""
    ids = [world.twice(who) for who in range(3)]
    world.judge()
    with world.parts.store.session() as session:
        session.delete(session.get_one(Interaction, ids[0][0]))
        session.delete(session.get_one(Interaction, ids[1][1]))
        session.commit()
    assert len(pairs_of(world.build())) == 1
    with world.parts.store.session() as session:
        assert expire_judged(session, "desk") == 1  # the older one goes first
        session.commit()
    assert {row.interaction_id for row in world.rows()} == {ids[1][0], ids[2][0]}


def test_show_and_card_tell_who_decided(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """How many of people and of the judge, and how far the two agree."""
    for who in range(PEOPLE):
        first, second = world.twice(who)
        if who < 4:
            winner, loser = (first, second) if who == 0 else (second, first)
            world.say(who, winner, "preference", other=loser)
    world.judge()
    version = world.build()
    card = (Path(version.path) / "README.md").read_text()
    words = f"4 people, 12 {BASE} (AI judge, rubric {RUBRIC[:12]}; agrees with people on 75% of 4"
    assert f"| Pairs decided by | {words}" in card
    with world.parts.store.session() as session:
        draw_version(describe(session, version.id))
    assert f"pairs decided by: {words}" in capsys.readouterr().out
