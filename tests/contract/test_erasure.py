"""A person is erased everywhere, and what was made of them is known: on SQLite and PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlmodel import select

from core.clock import utc_now
from core.ids import new_id
from core.settings import (
    ApplicationSettings,
    CurationSettings,
    EngineSettings,
    ErasureSettings,
    Settings,
)
from curation.dataset_version import verify_dataset
from curation.pipeline import build_dataset
from curation.review.desk import ReviewDesk
from curation.review.queue import Proposal
from curation.review.words import Decision
from feedback.erasure import Person, open_erasure
from feedback.events import (
    ERASURES_TOPIC,
    FEEDBACK_TOPIC,
    INTERACTIONS_TOPIC,
    ErasureRequested,
    FeedbackGiven,
    InteractionFinished,
    Message,
    encode,
)
from feedback.log.protocol import NewRecord
from feedback.positions import rewind
from feedback.subject_export import export_subject
from feedback.tables import (
    Adapter,
    Application,
    DatasetMember,
    DatasetVersion,
    Erasure,
    Feedback,
    Interaction,
    Review,
    ReviewItem,
    Rollout,
    TrainingRequest,
)
from loop import erasing
from loop.erasing import carry_out, carry_out_requests
from loop.turn import plan_training
from loop.wiring import Parts, open_parts
from tests.ready_store import lay_store
from tests.unit.curation_world import name, write_tokenizer

ANN = Person("desk", "a" * 32)
BOB = Person("desk", "b" * 32)
SECRET = "xylophonequartz"  # a word of Ann's that is nowhere else
START = utc_now() - timedelta(days=3)


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Settings of one application on each kind of store."""
    if request.param == "sqlite":
        url = None
        lay_store(f"sqlite:///{tmp_path / 'data' / 'store.db'}")
    else:
        url = request.getfixturevalue("ready_postgresql_url")
    return Settings(
        data_dir=tmp_path / "data",
        store_url=url,
        applications={"desk": ApplicationSettings(api_key=SecretStr("key"))},
        engine=EngineSettings(model=write_tokenizer(tmp_path / "model")),
        curation=CurationSettings(min_examples=4),
    )


@contextmanager
def opened(settings: Settings, **erasure: Any) -> Generator[Parts]:
    """Give parts that heed an erasure policy."""
    changed = settings.model_copy(update={"erasure": ErasureSettings(**erasure)})
    with open_parts(changed) as parts:
        yield parts


def answered(parts: Parts, person: Person | None, said: str, at: datetime | None = None) -> str:
    """Log an interaction and its thumbs-up, and return its id."""
    id_, subject = new_id(), person.subject if person else None
    at = at or START
    interaction = InteractionFinished(
        event_id=new_id(),
        interaction_id=id_,
        application="desk",
        subject=subject,
        endpoint="/v1/chat/completions",
        requested_model="desk",
        messages=[Message("user", said)],
        answer=f"You said {said}.",
        finish_reason="stop",
        latency_s=0.5,
        started_at=at,
    )
    vote = FeedbackGiven(
        event_id=new_id(),
        client_id=new_id(),
        interaction_id=id_,
        application="desk",
        subject=subject,
        kind="thumbs",
        thumbs=True,
        given_at=at + timedelta(seconds=5),
    )
    parts.log.append(
        [
            NewRecord(INTERACTIONS_TOPIC, id_, encode(interaction)),
            NewRecord(FEEDBACK_TOPIC, id_, encode(vote)),
        ]
    )
    return id_


def lived(parts: Parts) -> DatasetVersion:
    """Let Ann and others talk, and make a dataset version of it."""
    for number in range(12):
        other = Person("desk", f"{number:032x}")
        answered(parts, other, f"{name(number)} asks for the parcel of {name(number + 7)}")
    for topic in ("invoice", "letter"):
        answered(parts, ANN, f"{SECRET} wants the {topic} of {SECRET}")
    parts.ingest().drain()
    return build_dataset(parts.store, parts.settings, "desk")


def add_adapter(parts: Parts, name: str, dataset: str, parent: str | None = None) -> None:
    """Register an adapter as a run would."""
    with parts.store.session() as session:
        session.add(
            Adapter(
                name=name,
                application="desk",
                base_model="base",
                path=name,
                content_hash="",
                run_id="run",
                dataset_id=dataset,
                parent_adapter=parent,
                rank=16,
                status="gated",
                created_by="test",
            )
        )
        session.commit()


def make_live(parts: Parts, name: str | None) -> None:
    """Let an adapter answer."""
    with parts.store.session() as session:
        application = session.get_one(Application, "desk")
        application.live_adapter = name
        session.add(application)
        session.commit()


def erase(parts: Parts, person: Person = ANN) -> Erasure:
    """Erase a person now."""
    with parts.store.session() as session:
        erasure = open_erasure(session, person, new_id(), "an operator", utc_now())
        session.commit()
    return carry_out(parts, erasure.id)


def rows(parts: Parts, table: type[Any]) -> list[Any]:
    """Return all rows of a table."""
    with parts.store.session() as session:
        return list(session.exec(select(table)).all())


def traces(folder: Path, *words: str) -> list[str]:
    """Return the files below `folder` in whose raw bytes one of the words is."""
    return [
        str(path)
        for path in folder.rglob("*")
        if path.is_file() and any(word.encode() in path.read_bytes() for word in words)
    ]


def test_nothing_of_the_person_is_left_and_everybody_else_is(settings: Settings) -> None:
    """Not in a row, not in a dataset version, not in the raw bytes of any file."""
    with opened(settings, adapters="mark") as parts:
        dataset = lived(parts)
        assert traces(settings.data_dir, SECRET)
        done = erase(parts)
        assert {row.subject for row in rows(parts, Interaction)}.isdisjoint({ANN.subject})
        assert len(rows(parts, Interaction)) == len(rows(parts, Feedback)) == 12
        assert {row.subject for row in rows(parts, DatasetMember)}.isdisjoint({ANN.subject})
        [version] = rows(parts, DatasetVersion)
        verify_dataset(version)
        assert version.content_hash != dataset.content_hash
        assert version.train_rows + version.validation_rows + version.test_rows == 12
        assert version.manifest["erased"][0] | {"at": ""} == {
            "erasure": done.id,
            "at": "",
            "examples": 4,
        }
        manifest = json.loads((Path(version.path) / "manifest.json").read_text())
        assert manifest == version.manifest
    assert done.state == "done"
    assert done.datasets == [dataset.id]
    assert done.counts == {
        "spool_records": 4,
        "tombstones": 0,
        "dataset_examples": 4,
        "feature_rows": 0,
        "reviews": 0,
        "judged_pairs": 0,
        "interactions": 2,
        "feedback": 2,
        "dataset_members": 0,
    }
    assert traces(settings.data_dir, SECRET, ANN.subject) == []


def test_erasing_again_finds_nothing(settings: Settings) -> None:
    """It is no error, and says so in numbers."""
    with opened(settings) as parts:
        lived(parts)
        erase(parts)
        again = erase(parts)
    assert set(again.counts.values()) == {0}
    assert (again.datasets, again.policy) == ([], "no adapter was trained on them")


@pytest.mark.parametrize(
    "step", ["erase_records", "erase_examples", "heed_policy", "delete_rows", "_bury_in_kafka"]
)
def test_an_erasure_that_broke_off_is_done_again(
    settings: Settings, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At whatever step: it stays asked for, says why, and its next try ends it."""
    with opened(settings, adapters="mark") as parts:
        dataset = lived(parts)
        add_adapter(parts, "desk--v1", dataset.id)
        with parts.store.session() as session:
            erasure = open_erasure(session, ANN, new_id(), "an operator", utc_now())
            session.commit()

        def broken(*_arguments: object) -> None:
            raise OSError("the disk is gone")

        with monkeypatch.context() as patched:
            patched.setattr(erasing, step, broken)
            with pytest.raises(OSError, match="the disk is gone"):
                carry_out_requests(parts)
        [row] = rows(parts, Erasure)
        assert (row.state, row.error) == ("requested", "OSError")
        assert carry_out_requests(parts) == 1
        assert carry_out_requests(parts) == 0
        [row] = rows(parts, Erasure)
        assert (row.id, row.state, row.error, row.subject) == (erasure.id, "done", None, None)
        assert (row.datasets, row.adapters) == ([dataset.id], ["desk--v1"])
        [version] = rows(parts, DatasetVersion)
        verify_dataset(version)
    assert traces(settings.data_dir, SECRET, ANN.subject) == []


def test_adapters_made_of_the_person_are_known_and_marked(settings: Settings) -> None:
    """Those trained on the dataset, and those that continue them; no others."""
    with opened(settings, adapters="mark") as parts:
        dataset = lived(parts)
        add_adapter(parts, "desk--v1", "an older dataset")
        add_adapter(parts, "desk--v2", dataset.id, "desk--v1")
        add_adapter(parts, "desk--v3", "a later dataset", "desk--v2")
        done = erase(parts)
        tainted = {row.name: row.tainted_by for row in rows(parts, Adapter) if row.tainted_at}
    assert done.adapters == ["desk--v2", "desk--v3"]
    assert tainted == {"desk--v2": [done.id], "desk--v3": [done.id]}


def test_retire_takes_them_out_of_traffic(settings: Settings) -> None:
    """The newest ancestor that did not learn from the person answers; a rollout ends."""
    with opened(settings, adapters="retire") as parts:
        dataset = lived(parts)
        add_adapter(parts, "desk--v1", "an older dataset")
        add_adapter(parts, "desk--v2", dataset.id, "desk--v1")
        add_adapter(parts, "desk--v3", dataset.id, "desk--v2")
        make_live(parts, "desk--v2")
        with parts.store.session() as session:
            session.add(
                Rollout(
                    id="r",
                    application="desk",
                    baseline_adapter="desk--v2",
                    canary_adapter="desk--v3",
                    state="canary",
                    salt="s",
                )
            )
            session.commit()
        done = erase(parts)
        [rollout], [application] = rows(parts, Rollout), rows(parts, Application)
        states = {row.name: row.status for row in rows(parts, Adapter)}
    assert (rollout.state, rollout.decided_by) == ("rolled_back", "erasure")
    assert application.live_adapter == "desk--v1"
    assert states["desk--v2"] == states["desk--v3"] == "retired"
    assert "desk--v1 answers" in done.policy


def test_without_an_untainted_ancestor_the_base_model_answers(settings: Settings) -> None:
    """A first adapter has nobody before it."""
    with opened(settings, adapters="retire") as parts:
        add_adapter(parts, "desk--v1", lived(parts).id)
        make_live(parts, "desk--v1")
        assert "the base model answers" in erase(parts).policy
        [application] = rows(parts, Application)
        assert application.live_adapter is None


def test_retrain_asks_for_a_full_training_once(settings: Settings) -> None:
    """The policy takes it up as a wish, and does not continue the tainted adapter."""
    with opened(settings, adapters="retrain") as parts:
        add_adapter(parts, "desk--v1", lived(parts).id)
        make_live(parts, "desk--v1")
        erase(parts)
        answered(parts, BOB, f"{name(20)} asks for the parcel of {name(27)}")
        parts.ingest().drain()
        newer = build_dataset(parts.store, parts.settings, "desk")
        plan = plan_training(parts, "desk", newer)
        [request] = rows(parts, TrainingRequest)
    assert (request.full, request.requested_by, request.run_id) == (True, "erasure", None)
    assert (plan.train, plan.mode, plan.trigger) == (True, "full", "tainted")
    assert "desk--v1 was trained on a person who was erased" in plan.reason


def test_a_tainted_adapter_that_is_not_live_needs_no_training(settings: Settings) -> None:
    """It is only marked."""
    with opened(settings, adapters="retrain") as parts:
        add_adapter(parts, "desk--v1", lived(parts).id)
        assert "none of them is live" in erase(parts).policy
        assert rows(parts, TrainingRequest) == []


def test_older_events_do_not_come_back_and_newer_ones_stay(settings: Settings) -> None:
    """Neither late ones nor a replay; what the person does afterwards is theirs to do."""
    with opened(settings) as parts:
        lived(parts)
        erase(parts)
        answered(parts, ANN, f"{SECRET} of yesterday, late", utc_now() - timedelta(days=1))
        kept = answered(parts, ANN, "a new beginning", utc_now() + timedelta(seconds=1))
        rewind(parts.store, parts.source, None)
        parts.ingest().drain()
        theirs = [row.id for row in rows(parts, Interaction) if row.subject == ANN.subject]
        votes = [row.interaction_id for row in rows(parts, Feedback) if row.subject == ANN.subject]
    assert theirs == votes == [kept]


def test_a_wish_in_the_log_becomes_an_erasure(settings: Settings) -> None:
    """Once ingest has read it, the chore carries it out; twice in the log is once."""
    with opened(settings) as parts:
        lived(parts)
        event = ErasureRequested(
            event_id=new_id(),
            erasure_id=new_id(),
            application="desk",
            subject=ANN.subject,
            requested_by="rk_key",
            requested_at=utc_now(),
        )
        parts.log.append([NewRecord(ERASURES_TOPIC, event.erasure_id, encode(event))] * 2)
        parts.ingest().drain()
        assert carry_out_requests(parts) == 1
        [row] = rows(parts, Erasure)
    assert (row.id, row.state, row.requested_by) == (event.erasure_id, "done", "rk_key")
    assert row.counts["interactions"] == 2
    assert traces(settings.data_dir, SECRET, ANN.subject) == []


def test_an_export_holds_everything_of_the_person_and_of_nobody_else(settings: Settings) -> None:
    """Interactions with their texts, feedback, examples, and which adapters learnt from them."""
    with opened(settings) as parts:
        add_adapter(parts, "desk--v1", lived(parts).id)
        with parts.store.session() as session:
            document = export_subject(session, ANN)
            assert export_subject(session, BOB)["interactions"] == []
    assert len(document["interactions"]) == len(document["feedback"]) == 2
    assert all(SECRET in row["answer"] for row in document["interactions"])
    assert len(document["dataset_examples"]) == 2
    assert document["adapters_trained_on_them"] == ["desk--v1"]
    json.dumps(document)


def test_what_others_said_of_an_erased_interaction_goes_too(settings: Settings) -> None:
    """A reviewer's correction quotes the person's conversation."""
    with opened(settings) as parts:
        lived(parts)
        [first, _] = [r.id for r in rows(parts, Interaction) if r.subject == ANN.subject]
        correction = FeedbackGiven(
            event_id=new_id(),
            client_id="c",
            interaction_id=first,
            application="desk",
            kind="correction",
            text=f"{SECRET} gets it tomorrow",
            given_at=datetime.now(UTC),
        )
        parts.log.append([NewRecord(FEEDBACK_TOPIC, first, encode(correction))])
        parts.ingest().drain()
        assert erase(parts).counts["feedback"] == 3
    assert traces(settings.data_dir, SECRET, ANN.subject) == []


def proposed(parts: Parts, id_: str, seeds: tuple[str, ...], words: str) -> None:
    """Put a candidate of a person into the queue, and let somebody approve it."""
    messages = (Message("user", words), Message("assistant", f"You said {words}."))
    subjects = {row.id: row.subject for row in rows(parts, Interaction)}
    item = Proposal(
        id_, seeds[0], messages, ("augmented",), subject=subjects[seeds[0]], seeds=seeds
    )
    desk = ReviewDesk(parts.store, parts.settings)
    assert desk.fill("desk", [item]).added == 1
    desk.enter("desk", id_, "kim", Decision("approve", reason=words))


def test_what_people_reviewed_goes_too_and_what_was_written_from_it(settings: Settings) -> None:
    """Items, what was said of them, and an example that a model wrote from several people."""
    # nothing that was written from a test example is learnt: here all are trained on
    learnt = settings.curation.model_copy(update={"validation_share": 0.0, "test_share": 0.0})
    with opened(settings.model_copy(update={"curation": learnt})) as parts:
        lived(parts)
        mine, *_ = (row.id for row in rows(parts, Interaction) if row.subject == ANN.subject)
        train = [row for row in rows(parts, DatasetMember) if row.split == "train"]
        others = [row.interaction_id for row in train if row.subject != ANN.subject]
        proposed(parts, f"{mine}:demonstration", (mine,), f"{SECRET} wants the invoice")
        written = f"{others[0]}:demonstration:synthetic:0123456789abcdef"
        proposed(parts, written, (others[0], mine), f"{SECRET} of two")
        kept = f"{others[1]}:demonstration:synthetic:0123456789abcdef"
        proposed(parts, kept, (others[1], others[2]), "the harbour master greets nobody")
        newer = build_dataset(parts.store, parts.settings, "desk")
        assert newer.manifest["lineage"]["sources"]["synthetic"] == 2
        done = erase(parts)
        items = [(row.candidate_id, row.state) for row in rows(parts, ReviewItem)]
        [review] = rows(parts, Review)
        version = next(row for row in rows(parts, DatasetVersion) if row.id == newer.id)
        verify_dataset(version)
    assert done.counts["reviews"] == 4  # two items, two reviews
    assert done.counts["dataset_examples"] == 4 + 5  # of each interaction also its vote
    assert items == [(kept, "done")]
    assert review.reason == "the harbour master greets nobody"
    assert traces(settings.data_dir, SECRET, ANN.subject) == []
    assert traces(settings.data_dir, "harbour master")
