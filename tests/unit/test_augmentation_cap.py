"""Written rows stay a share of the whole, the same ones each time, spread over their seeds."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.augmentation.cap import OVER_SHARE, cap, in_turns, is_written, room_for
from curation.table import Table
from tests.unit.candidate_tables import row, table_of


def mixed(real: int, products: dict[str, int]) -> Table:
    """Return real rows, and of each named seed so many written ones."""
    rows: list[dict[str, Any]] = [
        row(f"real {number}", "yes", id_=f"r{number}") for number in range(real)
    ]
    for seed, count in products.items():
        rows += [
            row(
                f"{seed} {number}",
                "yes",
                id_=seed,
                candidate_id=f"{seed}:{number}",
                source="synthetic",
            )
            for number in range(count)
        ]
    return table_of(*rows)


@pytest.mark.parametrize(
    ("real", "share", "room"),
    [(90, 0.1, 10), (89, 0.1, 9), (100, 0.0, 0), (0, 0.5, 0), (10, 0.5, 10), (10, 0.9, 90)],
)
def test_the_room_is_a_share_of_the_whole(real: int, share: float, room: int) -> None:
    """A tenth of all is a ninth of the real ones, with no rounding of its own."""
    assert room_for(real, share) == room


@given(real=st.integers(0, 60), written=st.integers(0, 60), hundredths=st.integers(0, 99))
def test_the_share_is_never_passed_and_never_wasted(
    real: int, written: int, hundredths: int
) -> None:
    """One more written row would be over it, unless none is left."""
    share = hundredths / 100
    kept = cap(mixed(real, {"seed": written}), share).kept
    count = sum(is_written(kept).to_pylist())
    assert kept.num_rows - count == real
    assert 100 * count <= hundredths * kept.num_rows
    assert count == written or 100 * (count + 1) > hundredths * (kept.num_rows + 1)


def test_every_seed_gives_one_before_any_gives_two() -> None:
    """A seed with many products does not crowd the others out."""
    table = mixed(12, {"loud": 50, "calm": 2, "mild": 2, "shy": 1})
    outcome = cap(table, 0.25)
    kept = outcome.kept.filter(is_written(outcome.kept))
    assert Counter(kept["interaction_id"].to_pylist()) == {
        "loud": 1,
        "calm": 1,
        "mild": 1,
        "shy": 1,
    }
    assert set(outcome.drops["reason"].to_pylist()) == {OVER_SHARE}
    assert outcome.drops.num_rows == 51


def test_the_same_rows_stay_whatever_their_order() -> None:
    """The choice hangs on ids alone."""
    table = mixed(10, {"one": 9, "two": 9})
    turned = table.take(list(range(table.num_rows))[::-1])
    kept = cap(table, 0.3).kept["candidate_id"].to_pylist()
    assert kept == cap(turned, 0.3).kept["candidate_id"].to_pylist()[::-1]


def test_what_is_within_the_share_is_left_as_it_is() -> None:
    """Real rows alone are no matter of the cap."""
    table = mixed(3, {})
    assert cap(table, 0.0).kept.equals(table)
    assert cap(table.slice(0, 0), 0.1).kept.num_rows == 0


def test_turns_go_round_the_groups() -> None:
    """Of three from one and one from another, the one is among the first two."""
    turns = in_turns(["x", "x", "x", "y"], ["1", "2", "3", "4"])
    assert sorted(turns) == [0, 1, 2, 3]
    assert 3 in turns[:2]
