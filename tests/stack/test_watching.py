"""A real training that goes wrong: it is stopped, and its report says what to change."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import TrainingError
from retrain.watching.trackers.tensorboard import FOLDER
from tests.training_world import open_workshop
from tests.unit.test_training_trackers import read_events

pytestmark = [pytest.mark.stack, pytest.mark.filterwarnings("ignore")]


def test_a_training_that_diverges_is_stopped_and_reported(base_model: Path, tmp_path: Path) -> None:
    """At an absurd learning rate it ends long before its last step; curves, findings and trackers
    keep what there was.
    """
    shop = open_workshop(tmp_path, base_model)
    shop.dataset(1, range(40))
    recipe = shop.recipe(
        "absurd", learning_rate=0.9, layers=2, epochs=60, batch_size=2, eval_every_steps=40
    )
    with pytest.raises(TrainingError, match=r"lower learning_rate \(0\.9\)"):
        shop.train(shop.request(recipe=recipe))
    (run_id,) = shop.runs()
    run = shop.run(run_id)
    folder = Path(run.folder)
    text = (folder / "report.md").read_text()
    assert run.status == "failed"
    assert "| stop |" in text
    assert "above the 3.3e-05 to 0.00015 that are usual for lora" in text
    assert "and then no end" in text
    assert run.details["report"] == str(folder / "report.html")
    assert run.details["system"]["peak_rss_gb"] > 0.1
    assert (folder / FOLDER).is_dir()
    assert 5 <= len(read_events(folder)["train/loss"]) < 100
    shop.store.close()
