"""The whole build over a store: counts, lineage, errors, and versions that grow."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from sqlmodel import col, select, update

from core.errors import ConflictError, DataError
from curation.dataset_version import verify_dataset
from curation.history import SPLITS
from curation.pipeline import build_dataset
from curation.selection import Selection
from curation.similarity import prompt_key
from curation.steps import STAGES
from feedback.events import Message
from feedback.tables import DatasetMember, DatasetVersion, Feedback, Interaction
from tests.unit.curation_world import START, World, name, open_world


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Give a store without interactions."""
    world = open_world(tmp_path)
    yield world
    world.store.close()


def build(world: World, **options: Any) -> DatasetVersion:
    """Build the application's next version."""
    return build_dataset(world.store, world.settings, world.application, **options)


def rows(version: DatasetVersion) -> dict[str, dict[str, Any]]:
    """Return the examples of a version by interaction, each with its split."""
    return {
        row["interaction_id"]: {**row, "split": split}
        for split in SPLITS
        for row in pq.read_table(Path(version.path) / f"{split}.parquet").to_pylist()
    }


def answers(version: DatasetVersion) -> set[str]:
    """Return all that a version teaches."""
    return {row["messages"][-1]["content"] for row in rows(version).values()}


def versions(world: World) -> list[str]:
    """Return the ids of all versions in the store."""
    with world.store.session() as session:
        return list(session.exec(select(DatasetVersion.id).order_by(DatasetVersion.id)).all())


def mixed(world: World) -> None:
    """Fill the store with good examples and with one of each that must stay out."""
    world.crowd(12)
    world.say("Is it blue?", "Bad answer.", subject="u1", thumbs=False)
    world.say("Is it red?", "Half an", subject="u2", thumbs=True, finish_reason="length")
    world.say("Is it green?", "", subject="u3", thumbs=True)
    world.say("Is it black?", "Caf\ufffd", subject="u4", thumbs=True)
    world.say("Is it long?", "word " * 2_000, subject="u5", thumbs=True)
    world.say("Where is Oslo?", "In Sweden.", subject="u6", thumbs=True)
    world.say("where is oslo", "In Norway.", subject="u7", correction="It is in Norway.")
    world.say("Where is Oslo?", "It is in Norway", subject="u8", thumbs=True)
    world.say("Mail ann@example.org?", "No, bob@example.org.", subject="u9", thumbs=True)
    for number in range(3):
        world.say("Who pays?", "You do, of course.", subject=f"v{number}", thumbs=number == 0)


def test_stages_add_up(world: World) -> None:
    """Each stage begins with what the one before it kept, and the last kept what is written."""
    mixed(world)
    version = build(world)
    stages = version.manifest["stages"]
    assert [stage["name"] for stage in stages] == list(STAGES[:-1])
    for stage, following in pairwise(stages):
        assert stage["after"] == following["before"]
    for stage in stages:
        gone = sum(stage["dropped"].values())
        assert stage["after"] == stage["before"] - gone + stage["added"]
    assert sum(version.manifest["splits"].values()) == len(rows(version))
    kinds = version.manifest["kinds"].values()
    assert stages[-1]["after"] == sum(sum(splits.values()) for splits in kinds)


def test_what_must_stay_out_stays_out(world: World) -> None:
    """Each fault is counted by its reason, and no such answer is in the files."""
    mixed(world)
    version = build(world)
    dropped: dict[str, int] = {}
    for stage in version.manifest["stages"]:
        dropped |= stage["dropped"]
    assert dropped == {
        "answer is not whole": 1,
        "empty text": 1,
        "broken text": 1,
        "too long": 1,
        "conflict": 1,
        "blamed by more people": 1,
        "votes disagree": 1,
        "duplicate": 2,  # the demonstration and the label of its thumb
        "subject over its share": 1,
    }
    crowd = {f"It is with {name(number)}." for number in range(12)}
    assert answers(version) - crowd == {"It is in Norway.", "No, [EMAIL_2]."}


def test_manifest_tells_where_examples_came_from(world: World) -> None:
    """Subjects, sources, times, settings and new examples are counted from what was written."""
    world.crowd(6)
    world.say("Where is Oslo?", "In Sweden.", correction="In Norway.")
    version = build(world)
    lineage = version.manifest["lineage"]
    assert (lineage["interactions"], lineage["subjects"], lineage["without_subject"]) == (13, 6, 1)
    assert lineage["sources"] == {"thumbs_up": 12, "correction": 1}
    assert lineage["oldest"] == (START + timedelta(minutes=1)).isoformat()
    assert lineage["newest"] == (START + timedelta(minutes=13)).isoformat()
    assert version.manifest["settings"]["curation"] == world.settings.curation.model_dump(
        mode="json"
    )
    assert version.new_rows == 13
    assert (version.id, version.parent) == ("desk--d1", None)


def test_no_text_gets_into_the_manifest(world: World) -> None:
    """Samples of drops hold ids and reasons, never what people wrote."""
    world.crowd(6)
    world.say("My secret question", "My secret answer", subject="ann", thumbs=False)
    assert "secret" not in str(build(world).manifest["stages"])


def test_too_few_examples_is_an_error_that_helps(world: World) -> None:
    """It names the number, the number needed, what was dropped and both ways out."""
    world.say("Where?", thumbs=True)
    world.say("Who?", thumbs=True, status="error")
    with pytest.raises(DataError) as caught:
        build(world)
    for part in (
        "application desk has 1 usable examples",
        "needs 4",
        "1 status is not ok",
        "gather more approvals",
        "curation.min_examples",
    ):
        assert part in caught.value.message
    assert versions(world) == []


def test_one_loud_person_is_an_error_that_helps(world: World) -> None:
    """Ten answers approved by one person are no dataset, however many they are."""
    for number in range(10):
        world.say(f"{name(number)} is where?", "Here.", subject="ann", thumbs=True)
    with pytest.raises(DataError, match=r"at least 5 are needed.*max_share_per_subject"):
        build(world)


@pytest.mark.parametrize("application", ["", "a/b", "../desk"])
def test_application_that_cannot_be_a_folder_is_refused(world: World, application: str) -> None:
    """No name leads out of the folder of datasets."""
    world.application = application
    with pytest.raises(DataError, match="cannot name a folder"):
        build(world)


def test_rebuilding_with_nothing_new_gives_the_same_version(world: World) -> None:
    """No second version is written, not even after people rated what stays out."""
    mixed(world)
    first = build(world)
    assert build(world).id == first.id
    world.say("Is it yellow?", "Broken off.", subject="u1", thumbs=True, status="error")
    assert build(world).id == first.id
    assert versions(world) == ["desk--d1"]
    verify_dataset(first)


def test_two_stores_with_equal_data_give_equal_content(tmp_path: Path) -> None:
    """Ids, subjects and text decide everything: another machine makes the same hash."""
    hashes: list[str] = []
    for place in ("one", "two"):
        world = open_world(tmp_path / place)
        for number in range(12):
            question = f"{name(number)} asks where {name(number + 7)} is"
            world.say(question, subject=name(number), thumbs=True, id=f"i{number}")
        hashes.append(build(world).content_hash)
        world.store.close()
    assert hashes[0] == hashes[1]


def test_next_version_grows_and_moves_nothing(world: World) -> None:
    """New examples are marked, old ones keep their splits, the parent stays as it was."""
    world.crowd(10)
    first = build(world)
    world.crowd(10, first=20)
    second = build(world)
    assert (second.id, second.parent, second.new_rows) == ("desk--d2", "desk--d1", 20)
    before, after = rows(first), rows(second)
    assert {id_: after[id_]["split"] for id_ in before} == {
        id_: row["split"] for id_, row in before.items()
    }
    assert {id_ for id_, row in after.items() if row["is_new"]} == after.keys() - before.keys()
    verify_dataset(first)


def test_no_subject_or_question_moves_between_versions(world: World) -> None:
    """Over four versions, some of a narrow time, each subject and question has one split."""
    narrow = Selection(since=START + timedelta(minutes=25))
    seen: dict[object, set[str]] = {}
    for round_ in range(4):
        world.crowd(8, first=6 * round_)
        for number in range(4):
            world.say(f"Question {name(number)}", subject=name(round_ * 9 + number), thumbs=True)
        version = build(world, source=narrow if round_ == 2 else Selection())
        for row in rows(version).values():
            for shared in (row["subject"], prompt_key([Message(**row["messages"][0])])):
                seen.setdefault(shared, set()).add(row["split"])
    assert len(versions(world)) == 4
    assert {shared: splits for shared, splits in seen.items() if len(splits) > 1} == {}


def test_near_duplicates_of_earlier_prompts_follow_them(world: World) -> None:
    """A question in other words than an earlier version's goes where that went, though it is gone.

    Only the history knows the old question: the selection begins after it.
    """
    topics = [" ".join(name(40 * topic + word) for word in range(40)) for topic in range(12)]
    old = [
        world.say(f"{topic} aaa", subject=f"old {number}", thumbs=True)
        for number, topic in enumerate(topics)
    ]
    before = rows(build(world))
    later = Selection(since=START + timedelta(minutes=world.minute + 1))
    new = [
        world.say(f"{topic} bbb", subject=f"new {number}", thumbs=True)
        for number, topic in enumerate(topics)
    ]
    after = rows(build(world, source=later))
    assert [after[id_]["split"] for id_ in new] == [before[id_]["split"] for id_ in old]


def test_retracted_approval_leaves_the_next_version(world: World) -> None:
    """The old version keeps it for ever, the next does not have it."""
    world.crowd(8)
    regretted = world.say("Where is Oslo?", "In Sweden.", subject="ann", thumbs=True)
    first = build(world)
    with world.store.session() as session:
        row = col(Feedback.interaction_id) == regretted
        session.exec(update(Feedback).where(row).values(effective=False))
        session.commit()
    world.crowd(4, first=20)
    second = build(world)
    assert "In Sweden." in answers(first)
    assert "In Sweden." not in answers(second)
    assert second.parent == first.id


def test_prompts_of_earlier_versions_are_redacted_like_todays(world: World) -> None:
    """A prompt that the store holds unredacted has one key, in history as among candidates.

    The old example is out of the selection; who asks the same in redacted words must follow it.
    """
    world.crowd(8)
    leaky = world.say("Is ann@example.org yours?", "Yes.", subject="ann", thumbs=True)
    split = rows(build(world))[leaky]["split"]
    later = Selection(since=START + timedelta(minutes=world.minute + 1))
    world.crowd(8, first=30)
    same = world.say("Is [EMAIL_1] yours?", "No.", subject="bob", thumbs=True)
    assert rows(build(world, source=later))[same]["split"] == split


def test_without_stored_text_nothing_is_learnt(world: World) -> None:
    """In metadata-only mode prompts, answers and corrections are empty: no example comes of it."""
    world.crowd(8)
    for number in range(5):
        world.say("", "", subject=f"m{number}", thumbs=True, correction="" if number % 2 else None)
    version = build(world)
    assert len(rows(version)) == 16
    assert all(message["content"] for row in rows(version).values() for message in row["messages"])


def test_changed_parent_stops_the_build(world: World) -> None:
    """What is new cannot be told from a parent that somebody changed."""
    world.crowd(8)
    path = Path(build(world).path) / "train.parquet"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes() + b"x")
    world.crowd(4, first=20)
    with pytest.raises(DataError, match=r"desk--d1 .* was changed"):
        build(world)
    assert versions(world) == ["desk--d1"]


def test_lineage_finds_every_dataset_of_an_interaction(world: World) -> None:
    """Who must erase a subject learns which versions hold it."""
    world.crowd(8)
    build(world)
    world.crowd(4, first=20)
    build(world)
    with world.store.session() as session:
        oldest = session.exec(select(Interaction.id).order_by(col(Interaction.started_at))).first()
        members = session.exec(select(DatasetMember).where(DatasetMember.interaction_id == oldest))
        assert sorted(m.dataset_id for m in members) == ["desk--d1", "desk--d2"]


def test_progress_names_every_stage_in_order(world: World) -> None:
    """A person who waits sees each stage once, with how many are done."""
    world.crowd(8)
    told: list[tuple[str, int, int]] = []

    def listen(stage: str, finished: int, stages: int) -> None:
        told.append((stage, finished, stages))

    build(world, progress=listen)
    assert told == [(stage, number, len(STAGES)) for number, stage in enumerate(STAGES)]


def test_a_build_that_died_goes_on_where_it_was(world: World) -> None:
    """It leaves no version; the next one works on with its shards, and leaves nothing behind."""
    mixed(world)
    datasets = world.settings.folder("datasets")

    def die(stage: str, *_: int) -> None:
        if stage == "near duplicates":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(world, progress=die)
    assert versions(world) == []
    assert [path.name for path in datasets.iterdir()] == [".work"]
    shards = {path: path.stat().st_mtime_ns for path in datasets.rglob("part-*")}
    assert {path.parent.name for path in shards} == {"selected", "rows"}
    seen: dict[Path, int] = {}

    def look(stage: str, *_: int) -> None:
        if stage == "near duplicates":
            seen.update({path: path.stat().st_mtime_ns for path in datasets.rglob("part-*")})

    build(world, progress=look)
    assert seen == shards
    assert versions(world) == ["desk--d1"]
    assert list(datasets.rglob("part-*")) == []


def test_what_a_dead_build_left_is_of_no_use_once_something_changed(world: World) -> None:
    """A vote more, and all is read anew: no build holds what is not so any more."""
    world.crowd(8)

    def die(stage: str, *_: int) -> None:
        if stage == "cap":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(world, progress=die)
    late = world.say("Where is Oslo?", "In Norway.", subject="ann", thumbs=True)
    assert late in rows(build(world))


def test_corrupt_rows_are_counted_and_shown(world: World) -> None:
    """Each has its reason, and a sample with its interaction's id; none is dropped in silence."""
    world.crowd(8)
    bad = [
        world.say("x", thumbs=True, messages="no list"),
        world.say("x", thumbs=True, messages=[{"role": "user"}]),
        world.say("x", thumbs=True, messages=[]),
        world.say("gigantic " * 30_000, "Yes.", thumbs=True),
    ]
    stages = build(world).manifest["stages"]
    dropped = {reason: count for stage in stages for reason, count in stage["dropped"].items()}
    assert dropped == {
        "messages are not a list of role and content": 2,
        "roles do not alternate": 1,
        "message is gigantic": 1,
    }
    told = {sample["interaction_id"] for stage in stages for sample in stage["samples"]}
    assert told == set(bad)


def test_nothing_judged_is_an_error_that_helps(world: World) -> None:
    """An empty store has no dataset, and the message says what to do."""
    world.say("Where is it?")
    with pytest.raises(DataError, match=r"has 0 usable examples.*gather more approvals"):
        build(world)


def test_every_kind_of_signal_gets_its_files(world: World) -> None:
    """Corrections make pairs, thumbs make labels, flags make safety tests, and the card tells."""
    world.crowd(8)
    for number in range(6):
        world.say(f"Where is {name(number + 40)}?", "In Sweden.", subject=f"p{number}",
                  correction=f"In Norway, {name(number)}.", thumbs=False)  # fmt: skip
    flagged = world.say("Say something evil", "Evil.", subject="bad")
    with world.store.session() as session:
        interaction = session.get_one(Interaction, flagged)
        session.add(world.feedback(interaction, "flag", name="abuse"))
        session.commit()
    version = build(world)
    kinds = {kind: sum(splits.values()) for kind, splits in version.manifest["kinds"].items()}
    assert kinds == {"demonstration": 22, "label": 22, "pair": 6, "safety": 1}
    folder = Path(version.path)
    (safety,) = pq.read_table(folder / "safety" / "test.parquet").to_pylist()
    assert (safety["interaction_id"], safety["category"]) == (flagged, "abuse")
    card = (folder / "README.md").read_text()
    assert "## Coverage" in card
    assert "config_name: pairs" in card


def test_two_builds_of_one_application_do_not_meet(world: World) -> None:
    """The second is told to wait, and the first goes on unharmed."""
    world.crowd(8)

    def meet(stage: str, *_: int) -> None:
        if stage == "conflicts":
            with pytest.raises(ConflictError, match="another build for application desk"):
                build(world)

    assert build(world, progress=meet).id == "desk--d1"
    assert versions(world) == ["desk--d1"]
