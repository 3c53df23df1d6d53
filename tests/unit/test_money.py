"""What training costs, whether it is worth it, and what to do instead: the guide's numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.cost_settings import CostSettings
from core.errors import SettingsError
from retrain.money.advice import FULL_GB, LORA_GB, Situation, advise, hardware_words, memory_gb
from retrain.money.ownership import (
    STAFF,
    TOOLS,
    Instead,
    Item,
    Ownership,
    break_even_months,
    engine_item,
    inference_item,
    inference_saving,
    retraining_item,
    roi,
    staff_item,
    storage_item,
)
from retrain.money.prices import hourly_price, read_prices
from retrain.money.sources import SOURCES, legend
from retrain.money.training import DataRates, DataWork, Machine, run_cost, training_bill

USD = st.floats(0.0, 1e6)


def test_the_guides_instances_are_in_the_table() -> None:
    """Six machines; a name gives its price, a price of one's own goes before it."""
    table = read_prices(CostSettings())
    assert len(table) == 6
    assert table["azure-nd96amsr-a100"].usd_per_hour == 32.77
    assert hourly_price(CostSettings()) is None
    assert hourly_price(CostSettings(instance="azure-nc6s-v3")) == 3.06
    assert hourly_price(CostSettings(instance="azure-nc6s-v3", usd_per_hour=0.5)) == 0.5
    with pytest.raises(SettingsError, match="no instance 'abacus' in the price table: it has azu"):
        hourly_price(CostSettings(instance="abacus"))


def test_a_table_of_ones_own_is_checked(tmp_path: Path) -> None:
    """Missing files and wrong values are told by the file's name."""
    path = tmp_path / "prices.toml"
    with pytest.raises(SettingsError, match="cannot be read"):
        read_prices(CostSettings(prices=path))
    path.write_text('[instances.mine]\ngpus = 1\ngpu = "T4"\ngpu_gb = 16\nram_gb = 64\n')
    with pytest.raises(SettingsError, match="usd_per_hour"):
        read_prices(CostSettings(prices=path))
    path.write_text(path.read_text() + "usd_per_hour = 0.4\n")
    assert read_prices(CostSettings(prices=path))["mine"].usd_per_hour == 0.4


def test_a_run_costs_its_hours() -> None:
    """Half an hour is half the price; without a price nothing is made up."""
    assert run_cost(1800.0, 3.06) == pytest.approx(1.53)
    assert run_cost(1800.0, None) is None


def test_a_bill_has_all_parts_and_says_how() -> None:
    """The guide: a 7B LoRA of 8 hours on 8 A100s costs some hundred dollars, spot a third."""
    assert training_bill(Machine(8.0, 12.24)).total == pytest.approx(97.92)
    spot = Machine(8.0, 12.24, 0.7, ("store", "settings"))
    bill = training_bill(spot, DataWork(1000, 60, 1000), checkpoints=3)
    assert bill.parts["compute"] == pytest.approx(29.376)
    assert bill.parts["annotation"] == pytest.approx(5000.0)  # as the guide's 100 hours at $50
    assert bill.parts["expert review"] == pytest.approx(100.0)
    assert bill.parts["synthetic examples"] == pytest.approx(50.0)
    assert bill.because["compute"] == "8.00 h at $3.67 (spot, 70% off $12.24)"
    assert bill.parts.keys() == bill.because.keys() == bill.sources.keys()
    assert bill.sources["compute"] == ("store", "settings", "spot")
    assert {key for keys in bill.sources.values() for key in keys} <= SOURCES.keys()


def test_work_on_data_costs_what_the_settings_say() -> None:
    """Minutes and wages of one's own; what costs nothing has no row."""
    rates = DataRates(annotation_minutes=3.0, annotation_per_hour=20.0, expert_per_hour=0.0)
    bill = training_bill(Machine(0.0, 1.0), DataWork(annotated=10, reviewed=10), rates)
    assert bill.parts == {"compute": 0.0, "annotation": 10.0}
    assert bill.because["annotation"] == "10 at $1.00: 3 minutes, $20 an hour"


def test_a_whole_models_checkpoint_is_larger_than_an_adapters() -> None:
    """The guide names 5-10 GB in one place and 10-50 in another: each has its use."""
    small = training_bill(Machine(1.0, 1.0), checkpoints=2)
    large = training_bill(Machine(1.0, 1.0), checkpoints=2, full=True)
    name = "storage of checkpoints"
    assert small.parts[name] == pytest.approx(2 * 7.5 * 0.023)
    assert large.parts[name] == pytest.approx(2 * 30.0 * 0.023)
    assert "an adapter's, of 5-10" in small.because[name]
    assert "a whole model's, of 10-50" in large.because[name]
    assert (small.sources[name], large.sources[name]) == (("room", "data"), ("data",))


def test_a_legend_tells_what_was_used_once() -> None:
    """In the table's order; a key that means nothing is an error."""
    assert [*legend(["ours", "said", "ours"])] == ["said", "ours"]
    with pytest.raises(KeyError, match="nobody"):
        legend(["nobody"])


def test_the_guides_first_year_comes_out() -> None:
    """8,500 once and 1,310 a month are 24,220 in a year."""
    own = Ownership()
    assert own.total() == 24_220.0
    people = Instead(hours_per_month=50.0, usd_per_hour=50.0)
    assert break_even_months(own, people) == 8  # "pays off in <1 year"
    assert roi(own, people) == pytest.approx(30_000 / 24_220 - 1.0)


def test_ten_million_tokens_are_twenty_dollars() -> None:
    """The guide says 20,000 there: at that price it would be paid back in a month, else never."""
    api = Instead(tokens_per_month=10e6, usd_per_million_tokens=2.0)
    assert api.monthly == 20.0
    assert break_even_months(Ownership(), api) is None
    dear = Instead(tokens_per_month=10e9, usd_per_million_tokens=2.0)
    assert break_even_months(Ownership(), dear) == 1
    assert roi(Ownership((), ()), api) is None
    assert inference_saving(Ownership(), api) == -980.0
    assert inference_saving(Ownership(), dear) == 19_000.0
    assert inference_saving(Ownership(), Instead()) is None
    assert inference_saving(Ownership((), ()), api) is None


def test_rows_of_ones_own_go_before_the_guides() -> None:
    """By their names; what nobody counts stands there with nought."""
    own = Ownership()
    noughts = {item.name for item in (*own.once, *own.monthly) if not item.usd}
    assert noughts == {TOOLS, STAFF}
    said = ("said",)
    changed = own.but(
        [
            Item(TOOLS, 1000.0, "as said", said),
            inference_item(10e6, 2.0, said),
            storage_item(7_000_000_000, said),
            retraining_item(2.0, 50.0, said),
            staff_item(10.0, 60.0, said),
        ]
    )
    assert changed.before == own.before + 1000.0
    assert changed.inference == 20.0
    # 14 GB as the guide says, three times; monitoring as it was
    assert changed.by_the_month == pytest.approx(20.0 + 14 * 3 * 0.023 + 100.0 + 100.0 + 600.0)
    assert own.but([engine_item(1.0, said)]).inference == 730.0
    items = (*changed.once, *changed.monthly)
    assert {key for item in items for key in item.sources} <= SOURCES.keys()


@given(once=USD, monthly=USD, wage=USD)
def test_break_even_is_when_the_return_turns(once: float, monthly: float, wage: float) -> None:
    """A month earlier it has not paid back, then it has."""
    own = Ownership((Item("a", once, "", ()),), (Item("b", monthly, "", ()),))
    people = Instead(hours_per_month=1.0, usd_per_hour=wage)
    after = break_even_months(own, people)
    if after is None:
        assert wage <= monthly
        return
    assert after * wage >= own.total(after) - 1e-3
    if after > 1:
        assert (after - 1) * wage <= own.total(after - 1) + 1e-3


@pytest.mark.parametrize(
    ("situation", "way"),
    [
        (Situation(examples=50), "prompting"),
        (Situation(examples=50, knowledge_changes=True), "retrieval"),
        (Situation(examples=5_000, knowledge_changes=True), "retrieval"),
        (Situation(examples=5_000, simple_task=True), "prompting"),
        (Situation(examples=5_000, simple_task=True, strict_latency=True), "lora"),
        (Situation(examples=5_000, budget_usd=300.0), "hosted"),
        (Situation(examples=5_000, budget_usd=300.0, private_data=True), "lora"),
        (Situation(examples=5_000, budget_usd=1_500.0), "lora"),
        (Situation(examples=5_000, budget_usd=5_000.0, strict_latency=True), "full"),
        (Situation(examples=900, budget_usd=5_000.0, strict_latency=True), "lora"),
        (
            Situation(
                examples=5_000,
                budget_usd=5_000.0,
                strict_latency=True,
                model_billions=7.0,
                gpu_gb=80.0,
            ),
            "lora",
        ),
        (Situation(examples=5_000, model_billions=7.0, gpu_gb=16.0), "qlora"),
        (Situation(examples=5_000, model_billions=7.0, gpu_gb=24.0), "lora"),
    ],
)
def test_the_guides_decisions_come_out(situation: Situation, way: str) -> None:
    """Each with a reason that names its section."""
    found = advise(situation)
    assert found.way == way
    assert all("(guide, " in reason or "guide" in reason for reason in found.reasons)
    assert found.reasons


def test_what_else_to_know_is_told() -> None:
    """Too few examples for the kind, private data, and a budget that allows more."""
    found = advise(Situation(examples=400, kind="task", private_data=True, budget_usd=20_000.0))
    text = " ".join(found.cautions)
    assert "task needs 10,000 good examples" in text
    assert "may not leave" in text
    assert "larger base model" in text
    assert advise(Situation(examples=400, kind="instructions")).cautions == ()


def test_memory_follows_the_guides_table() -> None:
    """By size; beyond the table it grows with it."""
    assert memory_gb(0.1, LORA_GB) == 16.0
    assert memory_gb(13.0, LORA_GB) == 80.0
    assert memory_gb(140.0, FULL_GB) == 2560.0


def test_the_guides_table_of_sizes_is_told_in_its_words() -> None:
    """Each size has its row; beyond the last there is none."""
    assert hardware_words(0.135) == (
        "the guide's table for <1B weights: in full 1x A10/T4 (24GB), by LoRA 1x T4 (16GB); "
        "single GPU"
    )
    assert "1-7B weights: in full 1-4x A100 (40GB), by LoRA 1x A10 (24GB)" in hardware_words(7.0)
    assert "70B+ weights: in full 16+ H100/A100" in hardware_words(405.0)
