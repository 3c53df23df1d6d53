"""The review queue is filled from what is in the store, by reasons, and kept up with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from core.curation_settings import ReviewSettings
from core.errors import DataError
from core.settings import EngineSettings
from curation.pipeline import build_dataset
from curation.review.desk import ReviewDesk
from curation.review.filling import Refill, fill_queue
from curation.review.measures import odd, served_model
from curation.review.words import Decision
from feedback.tables import Adapter, Application, DatasetVersion, Feedback, ReviewItem
from retrain.examples import Example
from tests.fakes.scorer import FakeScorer
from tests.unit.curation_world import World, open_world
from tests.unit.review_world import rows


@dataclass
class Desk:
    """A world with its queue."""

    world: World

    @property
    def desk(self) -> ReviewDesk:
        return ReviewDesk(self.world.store, self.world.settings)

    def rule(self, **rules: Any) -> None:
        """Change the settings of review; no reason wants anything but those that are named."""
        none = dict.fromkeys(
            ("random_share", "uncertain_share", "disputed_share", "novel_share", "scored"), 0
        )
        review = ReviewSettings.model_validate(none | {"calibration_share": 0.0} | rules)
        self.world.settings = self.world.settings.model_copy(update={"review": review})

    def fill(self) -> Refill:
        """Fill the queue."""
        return fill_queue(self.world.store, self.world.settings, self.world.application)

    def build(self) -> DatasetVersion:
        """Build the next version."""
        return build_dataset(self.world.store, self.world.settings, self.world.application)

    def items(self) -> list[ReviewItem]:
        """Return the items, those first that are given out first."""
        return self.desk.items(self.world.application)


@pytest.fixture
def review(tmp_path: Path) -> Iterator[Desk]:
    """A store of 24 approved answers, and a desk without items."""
    world = open_world(tmp_path)
    world.crowd(12)
    review = Desk(world)
    review.rule(random_share=1.0)
    yield review
    world.store.close()


def test_candidates_of_the_store_wait_with_their_texts(review: Desk) -> None:
    """Once; labels are none of them; nothing is left on the disk of the work."""
    done = review.fill()
    assert (done.candidates, done.filled.added, done.withdrawn) == (24, 24, 0)
    item = review.items()[0]
    assert (item.kind, item.sampled_because) == ("demonstration", ["random"])
    assert [part["role"] for part in item.messages] == ["user", "assistant"]
    assert "asks where the" in item.messages[0]["content"]
    assert review.fill().filled.added == 0
    left = (review.world.settings.folder("datasets") / ".work").iterdir()
    assert [path.name for path in left] == ["desk.lock"]


def test_a_queue_may_be_smaller_than_a_dataset(review: Desk) -> None:
    """And holds what must pass review before it may be learnt."""
    changed = review.world.settings.curation.model_copy(update={"min_examples": 1_000})
    review.world.settings = review.world.settings.model_copy(update={"curation": changed})
    review.rule(random_share=1.0, required=True)
    assert review.fill().filled.added == 24


def test_without_a_demonstration_it_is_said(tmp_path: Path) -> None:
    """With what was dropped."""
    world = open_world(tmp_path)
    world.say("Is it blue?", "No.", subject="ann", thumbs=False)
    with pytest.raises(DataError, match="has 0 usable examples"):
        fill_queue(world.store, world.settings, "desk")
    world.store.close()


def test_what_is_no_candidate_any_more_is_withdrawn(review: Desk) -> None:
    """It makes room; what is decided stays, and so does what a model wrote."""
    review.rule(random_share=1.0, max_open=24)
    review.fill()
    held = review.desk.take("desk", "ann")
    assert held is not None
    review.desk.decide("ann", held.token, Decision("approve"))
    written = review.items()[1]
    with review.world.store.session() as session:
        for vote in rows(review.world.store, Feedback)[:5]:
            vote.effective = False
            session.add(vote)
        item = session.get_one(ReviewItem, written.id)
        item.candidate_id = f"{item.interaction_id}:demonstration:paraphrase:0123456789abcdef"
        session.add(item)
        session.commit()
    done = review.fill()
    states = {item.candidate_id: item.state for item in review.items()}
    assert done.candidates == 19
    assert 3 <= done.withdrawn <= 5
    assert list(states.values()).count("withdrawn") == done.withdrawn
    assert states[item.candidate_id] == "open"


def test_candidates_that_the_served_model_doubts_come_first(review: Desk) -> None:
    """Only as many are asked for as the settings say."""
    odd_one = review.world.say("Is it blue?", "Xylophonequartzes juxtaposed.", thumbs=True)
    with FakeScorer() as server:
        engine = EngineSettings(model=review.world.settings.engine.model, replicas=(server.url,))
        review.world.settings = review.world.settings.model_copy(update={"engine": engine})
        review.rule(uncertain_share=0.01, scored=25)
        done = review.fill()
        assert {body["model"] for body in server.bodies} == {"base"}
        review.rule(uncertain_share=0.01, scored=7)
        assert review.fill().scored == 7
    assert (done.scored, done.warning) == (25, "")
    first = review.items()[0]
    assert (first.interaction_id, first.sampled_because) == (odd_one, ["uncertain"])


def test_an_engine_that_is_away_hinders_nothing(review: Desk) -> None:
    """It is said in one line."""
    review.rule(random_share=1.0, scored=5)
    done = review.fill()
    assert (done.filled.added, done.scored) == (24, 0)
    assert "does not answer" in done.warning


def test_candidates_unlike_all_that_is_learnt_come_first(review: Desk) -> None:
    """Once there is a version to be unlike of."""
    review.rule(novel_share=0.01)
    assert review.fill().compared == 0
    review.build()
    novel = review.world.say("Quel temps fait-il demain?", "Beau.", thumbs=True)
    done = review.fill()
    assert done.compared == 25
    assert [item.interaction_id for item in review.items()] == [novel]


def test_candidates_like_what_an_adapter_failed_come_first(review: Desk) -> None:
    """The gate names the held-out question by a hash; those with its words are meant."""
    version = review.build()
    review.rule()
    [question, *_] = pq.read_table(Path(version.path) / "test.parquet")["messages"].to_pylist()
    key = Example(tuple(question)).key  # as the gate names it
    with review.world.store.session() as session:
        session.add(
            Adapter(
                name="desk--v1",
                application="desk",
                base_model="base",
                path="v1",
                content_hash="",
                run_id="run",
                dataset_id=version.id,
                rank=16,
                gate={"decision": "fail", "failed": [key, "0" * 64]},
                created_by="test",
            )
        )
        session.commit()
    done = review.fill()
    items = review.items()
    assert done.like_failed == len(items) > 0
    assert question[0]["content"] in {item.messages[0]["content"] for item in items}
    assert all(item.sampled_because == ["failed_gate"] for item in items)


def test_decisions_between_two_tries_of_a_build_are_heeded(
    review: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A build that died does not go on with rows from before somebody rejected one."""
    review.fill()

    def die(*_arguments: object) -> None:
        raise OSError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr("curation.pipeline.publish", die)
        with pytest.raises(OSError, match="the disk is full"):
            review.build()
    held = review.desk.take("desk", "ann")
    assert held is not None
    review.desk.decide("ann", held.token, Decision("reject"))
    version = review.build()
    assert version.train_rows + version.validation_rows + version.test_rows == 23


def test_a_quarter_of_what_was_measured_may_be_odd() -> None:
    """The lowest; of few at least one."""
    assert odd({"a": -1.0, "b": -3.0, "c": -2.0, "d": 0.0}) == {"b": -3.0}
    assert odd({"a": -1.0}) == {"a": -1.0}
    assert odd({}) == {}


def test_the_served_model_is_asked(review: Desk) -> None:
    """What is live, or the base model."""
    settings = review.world.settings
    assert served_model(settings, None) == "base"
    assert served_model(settings, Application(name="desk")) == "base"
    assert served_model(settings, Application(name="desk", live_adapter="desk--v3")) == "desk--v3"
