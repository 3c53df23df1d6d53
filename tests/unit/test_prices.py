"""What an interaction cost."""

from __future__ import annotations

import pytest

from core.settings import PriceSettings
from serving.prices import Usage, estimated_cost

TOKENS = PriceSettings(prompt_per_million=2.0, completion_per_million=10.0)
HARDWARE = PriceSettings(per_second=0.001)
USED = Usage(prompt_tokens=1_000, completion_tokens=500, busy_s=4.0)
CUT_SHORT = Usage(prompt_tokens=None, completion_tokens=500, busy_s=4.0)
FAILED = Usage(prompt_tokens=None, completion_tokens=None, busy_s=4.0)


@pytest.mark.parametrize(
    ("price", "usage", "cost"),
    [
        (TOKENS, USED, 0.007),
        (HARDWARE, USED, 0.004),
        (TOKENS, CUT_SHORT, 0.005),
        (TOKENS, FAILED, None),
        (HARDWARE, FAILED, 0.004),
        (PriceSettings(), FAILED, 0.0),
    ],
)
def test_what_was_used_is_charged_at_its_price(
    price: PriceSettings, usage: Usage, cost: float | None
) -> None:
    """What is unknown adds nothing, and if all that has a price is unknown, so is the cost."""
    assert estimated_cost({"default": price}, "base", usage) == pytest.approx(cost)


def test_an_own_price_goes_before_the_default() -> None:
    """Who is not in the table pays the default; without one, nobody knows."""
    prices = {"shop--v1": HARDWARE, "default": TOKENS}
    assert estimated_cost(prices, "shop--v1", USED) == pytest.approx(0.004)
    assert estimated_cost(prices, "shop--v2", USED) == pytest.approx(0.007)
    assert estimated_cost({"shop--v1": HARDWARE}, "shop--v2", USED) is None
