"""Checkpoints by the clock."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

pytestmark = pytest.mark.filterwarnings("ignore")  # transformers' own


def test_a_checkpoint_is_asked_for_when_the_last_is_old() -> None:
    """Also when steps alone would not; one that steps asked for counts as well."""
    from retrain.training.checkpointing import EveryMinutes

    now_s = 0.0
    callback = EveryMinutes(2.0, clock=lambda: now_s)

    def asked() -> bool:
        control = SimpleNamespace(should_save=False)
        callback.on_step_end(None, None, control)
        return control.should_save

    callback.on_train_begin(None, None, None)
    now_s = 119.0
    assert not asked()
    now_s = 120.0
    assert asked()
    callback.on_save(None, None, None)
    assert not asked()
    now_s = 239.0
    assert not asked()
    now_s = 240.0
    assert asked()
