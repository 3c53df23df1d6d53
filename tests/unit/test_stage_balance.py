"""Topics and lengths stay within their shares, and what people worked on stays first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.curation_settings import BalanceSettings
from core.errors import DataError
from curation.stages.balance import KEYS, LENGTHS, balance, length_bins
from curation.table import Outcome, Table, with_column
from tests.unit.candidate_tables import row, table_of


def _keys(topics: Sequence[int], tokens: Sequence[int] | None = None) -> Table:
    rows = [row("q", "a", id_=f"i{number}") for number in range(len(topics))]
    table = with_column(table_of(*rows), "topic", topics, pa.int32())
    table = with_column(table, "tokens", tokens or [10] * len(topics), pa.int32())
    return table.select(list(KEYS))


def _shares(outcome: Outcome, column: str) -> dict[int, float]:
    counts = Counter(outcome.kept[column].to_pylist())
    return {value: count / counts.total() for value, count in counts.items()}


def _ids(outcome: Outcome) -> set[str]:
    return set(outcome.kept["candidate_id"].to_pylist())


def test_shares_of_one_change_nothing() -> None:
    """The default is off."""
    keys = _keys([0] * 50)
    assert balance(keys, BalanceSettings()).kept is keys


def test_a_topic_above_its_share_is_cut_to_it() -> None:
    """80 of 100 become 20 of 40; the drops name the rule and the topic."""
    outcome = balance(_keys([7] * 80 + [1] * 20), BalanceSettings(max_topic_share=0.5))
    assert Counter(outcome.kept["topic"].to_pylist()) == {7: 20, 1: 20}
    assert set(outcome.drops["reason"].to_pylist()) == {"topic over its share"}
    assert set(outcome.drops["detail"].to_pylist()) == {"topic 7"}


def test_a_length_above_its_share_is_cut_to_it() -> None:
    """The largest cap that fits: 90 short rows beside 10 long ones become 15 at 0.6."""
    outcome = balance(
        _keys([0] * 100, [100] * 90 + [600] * 10), BalanceSettings(max_length_share=0.6)
    )
    assert Counter(outcome.kept["tokens"].to_pylist()) == {100: 15, 600: 10}
    assert set(outcome.drops["detail"].to_pylist()) == {"short"}


def test_bins_include_their_upper_bound() -> None:
    """Short up to 128 tokens, medium up to 512, long above; unknown counts as short."""
    tokens = pa.array([None, 0, 128, 129, 512, 513], pa.int32())
    names = [LENGTHS[place] for place in length_bins(tokens)]
    assert names == ["short", "short", "short", "medium", "medium", "long"]


@pytest.mark.parametrize("source", ["reviewer", "correction"])
def test_what_people_worked_on_stays_first(source: str) -> None:
    """Though their hashes may be high, ten reviewed or corrected rows are among the ten kept."""
    keys = _keys([0] * 60 + [1] * 10)
    sources = [source if 30 <= number < 40 else "thumbs_up" for number in range(70)]
    keys = with_column(keys, "source", sources, pa.string())
    outcome = balance(keys, BalanceSettings(max_topic_share=0.5))
    assert {f"i{number}:demonstration" for number in range(30, 40)} <= _ids(outcome)
    assert outcome.kept.num_rows == 20


def test_safety_tests_stay_and_do_not_count() -> None:
    """They are never learnt."""
    keys = _keys([0] * 30 + [1] * 10)
    kinds = ["safety"] * 20 + ["demonstration"] * 20
    outcome = balance(
        with_column(keys, "kind", kinds, pa.string()), BalanceSettings(max_topic_share=0.5)
    )
    assert outcome.kept.equals(with_column(keys, "kind", kinds, pa.string()))


def test_the_same_rows_stay_in_any_order_and_when_data_grow() -> None:
    """By the hash of the id: of 40 and 10, what 30 and 10 kept is kept again."""
    settings = BalanceSettings(max_topic_share=0.5)
    keys = _keys([1] * 10 + [0] * 30)
    turned = keys.take(list(reversed(range(40))))
    assert _ids(balance(keys, settings)) == _ids(balance(turned, settings))
    grown = balance(_keys([1] * 10 + [0] * 30 + [1] * 4), settings)
    assert _ids(balance(keys, settings)) <= _ids(grown)


def test_shares_that_cannot_be_kept_are_refused() -> None:
    """Two topics cannot each be at most 40 %."""
    with pytest.raises(DataError, match="max_topic_share"):
        balance(_keys([0, 0, 1]), BalanceSettings(max_topic_share=0.4))


def test_no_rows_are_balanced() -> None:
    """An empty table passes."""
    outcome = balance(_keys([]), BalanceSettings(max_topic_share=0.4, max_length_share=0.5))
    assert (outcome.kept.num_rows, outcome.drops.num_rows) == (0, 0)


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from([50, 300, 900])), max_size=80))
def test_both_shares_hold_in_what_stays(rows: list[tuple[int, int]]) -> None:
    """Whatever one rule takes, the other holds too; or the shares are refused."""
    settings = BalanceSettings(max_topic_share=0.4, max_length_share=0.6)
    keys = _keys([topic for topic, _ in rows], [tokens for _, tokens in rows])
    try:
        outcome = balance(keys, settings)
    except DataError:
        return
    assert outcome.kept.num_rows + outcome.drops.num_rows == len(rows)
    assert max(_shares(outcome, "topic").values(), default=0) <= 0.4 + 1e-9
    assert max(_shares(outcome, "tokens").values(), default=0) <= 0.6 + 1e-9
