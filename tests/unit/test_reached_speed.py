"""What a device reached in an earlier training, as the estimate of the next one takes it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from retrain.estimate import GB, Device, Plan, Shape, estimate, reached_flops

SEVEN = Shape(6_738_415_616, 32, 4096, 11008, 32000)  # Llama 2 7B


@pytest.mark.parametrize("processes", [1, 4])
def test_a_speed_that_was_reached_gives_its_time_back(processes: int) -> None:
    """Five hundred tokens a second are a thousand in two seconds, on as many devices as then."""
    plan = replace(Plan(batch=1, bits=16, checkpointing=True), processes=processes)
    device = Device(80 * GB, reached_flops(SEVEN, plan, 500.0))
    assert estimate(SEVEN, plan, device, total_tokens=1_000).seconds == pytest.approx(2.0)
