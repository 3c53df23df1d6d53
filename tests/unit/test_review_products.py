"""What a model wrote gets into a dataset when people let it in, and only then."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from core.curation_settings import AugmentationSettings
from curation.augmentation.cap import OVER_SHARE
from curation.history import SPLITS
from curation.pipeline import build_dataset
from curation.review.desk import ReviewDesk
from curation.review.products import approved_products, source_of
from curation.review.queue import Proposal
from curation.review.words import Decision
from feedback.events import Message
from feedback.tables import DatasetMember, DatasetVersion, ReviewItem
from tests.unit.curation_world import World, name, open_world
from tests.unit.review_world import rows

APPROVE = Decision("approve")


@dataclass
class Products:
    """A world with approved answers, and examples that a model wrote from them."""

    world: World

    @property
    def desk(self) -> ReviewDesk:
        return ReviewDesk(self.world.store, self.world.settings)

    def write(self, number: int, *seeds: str, method: str = "synthetic") -> str:
        """Put a product of these interactions into the queue; return its candidate."""
        who = name(number + 200)
        candidate = f"{seeds[0]}:demonstration:{method}:{number:016x}"
        words = f"May {who} send the harp of {name(number + 300)} back?"
        messages = (Message("user", words), Message("assistant", f"Yes, {who} may."))
        subject = f"subject of {seeds[0]}"
        proposal = Proposal(
            candidate, seeds[0], messages, ("augmented",), subject=subject, seeds=seeds
        )
        assert self.desk.fill("desk", [proposal]).added == 1
        return candidate

    def say(self, candidate: str, decision: Decision = APPROVE) -> None:
        """Let a reviewer decide."""
        self.desk.enter("desk", candidate, "kim", decision)

    def build(self) -> DatasetVersion:
        """Build the next version."""
        return build_dataset(self.world.store, self.world.settings, "desk")


@pytest.fixture
def products(tmp_path: Path) -> Iterator[Products]:
    """Twenty people with two approved answers each; a fifth may be written by a model."""
    world = open_world(tmp_path)
    augmentation = AugmentationSettings(max_share=0.2)
    world.settings = world.settings.model_copy(update={"augmentation": augmentation})
    world.crowd(20)
    yield Products(world)
    world.store.close()


def written(version: DatasetVersion) -> list[dict[str, Any]]:
    """Return the examples of a version that a model wrote, each with its split."""
    return [
        {**row, "split": split}
        for split in SPLITS
        for row in pq.read_table(Path(version.path) / f"{split}.parquet").to_pylist()
        if row["seeds"]
    ]


def test_an_approved_product_gets_into_the_next_version(products: Products) -> None:
    """With its method, its seeds, and the subject of its seed."""
    candidate = products.write(1, "interaction 0001", "interaction 0005")
    assert written(products.build()) == []
    products.say(candidate)
    [row] = written(products.build())
    assert (row["source"], row["interaction_id"]) == ("synthetic", "interaction 0001")
    assert row["seeds"] == ["interaction 0001", "interaction 0005"]
    assert row["subject"] == "subject of interaction 0001"
    assert row["messages"][-1]["content"].startswith("Yes, ")


def test_what_nobody_approved_never_does(products: Products) -> None:
    """Neither what waits, nor what was rejected, skipped or withdrawn."""
    products.write(1, "interaction 0001")
    products.say(products.write(2, "interaction 0003"), Decision("reject"))
    products.say(products.write(3, "interaction 0005"), Decision("skip"))
    gone = products.write(4, "interaction 0007")
    with products.world.store.session() as session:
        for item in rows(products.world.store, ReviewItem):
            if item.candidate_id == gone:
                item.state = "withdrawn"
                session.add(item)
        session.commit()
        assert approved_products(session, "desk").num_rows == 0
    assert written(products.build()) == []


def test_a_corrected_product_is_learnt_as_it_was_corrected(products: Products) -> None:
    """Its answer is the reviewer's then; what it was written from is still known."""
    candidate = products.write(1, "interaction 0001")
    products.say(candidate, Decision("correct", text="No, it must stay where it is."))
    [row] = written(products.build())
    assert row["messages"][-1]["content"] == "No, it must stay where it is."
    assert (row["source"], row["seeds"]) == ("reviewer", ["interaction 0001"])


def test_a_product_is_in_the_split_of_all_its_seeds(products: Products) -> None:
    """What was written from a test example never teaches, and two splits are never mixed."""
    products.build()
    where = {row.interaction_id: row.split for row in rows(products.world.store, DatasetMember)}
    by_split = {
        split: sorted(id_ for id_, own in where.items() if own == split) for split in SPLITS
    }
    for number, split in enumerate(SPLITS):
        seeds = by_split[split]
        products.say(products.write(number, seeds[0], seeds[-1]))
    mixed = products.write(9, by_split["train"][0], by_split["test"][0])
    products.say(mixed)
    version = products.build()
    found = {row["interaction_id"]: row["split"] for row in written(version)}
    assert found == {by_split[split][0]: split for split in SPLITS}
    assert len(written(version)) == 3
    dropped = next(s for s in version.manifest["stages"] if s["name"] == "split")["dropped"]
    assert dropped == {"would leak": 1}


def test_products_are_a_share_of_the_whole(products: Products) -> None:
    """Never more, however many were approved; lineage names every seed as a member."""
    for number in range(40):
        products.say(products.write(number, f"interaction {number + 1:04}"))
    version = products.build()
    stage = next(s for s in version.manifest["stages"] if s["name"] == "written")
    assert list(stage["dropped"]) == [OVER_SHARE]
    assert 0 < len(written(version)) <= 0.2 * stage["after"]
    assert len(written(version)) == 40 - stage["dropped"][OVER_SHARE]


@pytest.mark.parametrize(
    ("candidate", "source"),
    [
        ("i:demonstration:paraphrase:0123", "paraphrase"),
        ("i:demonstration:0123:failures:0123", "failures"),
        ("i:demonstration:0123", None),
        ("i:demonstration", None),
        ("paraphrase", None),
        ("i:pair:judge:kept", None),
    ],
)
def test_a_product_is_told_by_its_name(candidate: str, source: str | None) -> None:
    """Its candidate says which method wrote it."""
    assert source_of(candidate) == source
