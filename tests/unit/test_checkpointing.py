"""Checkpoints by the clock."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.unit.test_checkpoints import save

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


def test_a_broken_checkpoint_is_told_of(tmp_path: Path) -> None:
    """By its name, before the run goes on from an older one."""
    from retrain.runs.progress import Reporter, read_all
    from retrain.training.checkpointing import resume_point

    whole = save(tmp_path / "checkpoints", 4, complete=True)
    damaged = save(tmp_path / "checkpoints", 8, complete=True)
    (damaged / "optimizer.pt").write_bytes(b"stale")
    with (tmp_path / "out").open("w") as output:
        assert resume_point(Reporter(output, tmp_path)) == str(whole)
    told = read_all(tmp_path)
    assert told[0].finding is not None
    assert told[0].finding.what == "checkpoint-8 was half written or damaged, and is deleted"
    assert told[1].resumed_from == 4
