"""A run's report: of one that ended well, one that failed, one that nobody has begun."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

from core.clock import utc_now
from core.cost_settings import CostSettings
from core.errors import NotFoundError
from core.files import write_atomic
from core.settings import Settings
from feedback.store import Store
from feedback.tables import Run
from loop import cli
from retrain.runs.progress import FILE, TrainProgress
from retrain.watching import system
from retrain.watching.health import Finding
from retrain.watching.page import Page, Part, Table, as_html, as_markdown
from retrain.watching.reporting import report_ended_run, report_run
from retrain.watching.system import Sample
from tests.ready_store import ready_store
from tests.unit.test_training_trackers import RESULT, TrackersSettings, make_job

OVERFIT = Finding("overfitting", "warning", 30, "it rose | a lot", "fewer epochs", "guide")
LOST = Finding("not_a_number", "stop", 31, "loss is nan at step 31", "lower it", "guide")


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[tuple[Store, Settings, Path]]:
    """Give a store, settings with a price, and the folder of a run in it."""
    settings = Settings(data_dir=tmp_path, costs=CostSettings(usd_per_hour=36.0))
    store = ready_store(settings.store_address)
    folder = settings.folder("runs") / "r1"
    with store.session() as session:
        session.add(
            Run(
                id="r1",
                application="desk",
                dataset_id="desk--d1",
                recipe="sft-lora",
                mode="full",
                reason="by_hand: <test>",
                status="finished",
                folder=str(folder),
                details={
                    "seed": 42,
                    "device": "cpu",
                    "even_if_it_may_not_fit": True,
                    "expected": {
                        "memory_gb": 2.5,
                        "seconds": 60.0,
                        "available_gb": 1.5,
                        "parts_gb": {"weights": 1.5, "activations": 1.0},
                        "fits": False,
                    },
                },
                finished_at=utc_now(),
            )
        )
        session.commit()
    yield store, settings, folder
    store.close()


def tell(folder: Path, *told: TrainProgress) -> None:
    """Write what a run told."""
    with (folder / FILE).open("a") as file:
        file.writelines(progress.line() + "\n" for progress in told)


def trained(folder: Path, steps: int = 30) -> None:
    """Leave what a training leaves, twenty seconds of the machine among it."""
    make_job(folder, TrackersSettings())
    tell(folder, TrainProgress("train"))
    for step in range(1, steps + 1):
        loss = 3.0 - 0.05 * step
        tell(folder, TrainProgress("train", step=step, loss=loss, learning_rate=1e-4, grad_norm=1))
    tell(folder, TrainProgress("train", step=steps, validation_loss=1.75))
    tell(folder, TrainProgress("train", step=steps, finding=OVERFIT))
    sample = Sample(1000.0, 1.5, 10**9, 2 * 10**9, 0.4, gpu_bytes=3 * 10**9, gpu_share=0.5)
    lines = [msgspec.json.encode(one) for one in (sample, replace(sample, at_s=1020.0))]
    write_atomic(folder / system.FILE, b"\n".join(lines) + b"\n")


def test_report_of_a_finished_run_shows_all_that_is_known(
    shop: tuple[Store, Settings, Path],
) -> None:
    """Curves, findings, seed, gate, memory, cost and settings, in both forms."""
    store, settings, folder = shop
    trained(folder)
    outcome = replace(RESULT.outcome, peak_bytes=2_250_000_000)
    replace(RESULT, outcome=outcome, seconds={"train": 75.0}).write(folder)
    html = report_run(store, settings, "r1")
    text = html.with_suffix(".md").read_text()
    for words in (
        "The run is finished. Validation loss went from 1.750 to 1.750 at best.",
        "| warning | 30 | it rose \\| a lot | fewer epochs | guide |",
        "the GPU was busy 50% of the time",
        "![losses](losses.svg)",
        "| test, candidate, loss | 1.5 |",
        "| phase train | 0:01:15 |",
        "| peak memory of the process | 2.00 GB |",
        "| cost | $0.2000 at $36.00 per hour |",
        "| seed | 42 |",
        "| what | expected | measured |",
        "| memory, GB | 2.5 | 2.25 |",
        "| seconds of training | 60 | 75 |",
        "| available, GB | 1.5 |",
        "| weights, GB | 1.5 |",
        "| begun even if it may not fit | yes |",
        "| trackers | tensorboard |",
        "| learning_rate | 0.0003 |",
    ):
        assert words in text
    assert "by_hand: &lt;test&gt;" in html.read_text()
    assert html.read_text().count("<svg") == 3
    for drawing in ("losses", "learning_rate", "grad_norm"):
        ElementTree.parse(folder / f"{drawing}.svg")
    Balanced().feed(html.read_text())
    with store.session() as session:
        details = session.get_one(Run, "r1").details
    assert details["report"] == str(html)
    assert details["findings"][0] == "warning: it rose | a lot"
    assert details["system"] == {"seconds": 20.0, "peak_rss_gb": 2.0, "cpu": 1.5}
    assert details["cost"] == 0.2
    assert details["measured"] == {"memory_gb": 2.25, "seconds": 75.0}
    assert details["trackers"] == ["tensorboard"]


def test_report_of_a_failed_run_says_what_to_change(shop: tuple[Store, Settings, Path]) -> None:
    """No result, no phases: the curve until then, the error and its mend."""
    store, settings, folder = shop
    trained(folder)
    tell(folder, TrainProgress("train", step=31, finding=LOST))
    with store.session() as session:
        run = session.get_one(Run, "r1")
        run.status, run.error = "failed", "training_failed: loss is nan\nTraceback"
        session.add(run)
        session.commit()
    text = report_run(store, settings, "r1").with_suffix(".md").read_text()
    assert "It ended with: training_failed: loss is nan " in text
    assert "What to change: lower it." in text
    assert "| steps | 30, and then no end |" in text
    assert "## Gate" not in text


def test_report_of_a_run_that_did_not_begin(shop: tuple[Store, Settings, Path]) -> None:
    """An empty folder: nothing is made up."""
    store, settings, folder = shop
    folder.mkdir()
    text = report_run(store, settings, "r1").with_suffix(".md").read_text()
    assert "The run told no losses." in text
    assert "## What it took" not in text


def test_a_report_that_cannot_be_written_changes_nothing(
    shop: tuple[Store, Settings, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """It is logged; the run keeps its status."""
    store, settings, folder = shop
    folder.write_text("no folder")
    report_ended_run(store, settings, "r1")
    assert "run_report_failed" in capsys.readouterr().out
    with store.session() as session:
        assert session.get_one(Run, "r1").status == "finished"


def test_the_report_is_written_anew_on_the_command_line(
    shop: tuple[Store, Settings, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """For people and for scripts; an unknown run is told."""
    _, settings, folder = shop
    trained(folder)
    file = tmp_path / "ratchet.toml"
    file.write_text(f'data_dir = "{settings.data_dir}"\ncosts.usd_per_hour = 36.0\n')

    def ratchet(*words: str) -> str:
        cli.app(["--settings", str(file), "runs", "report", *words], standalone_mode=False)
        return capsys.readouterr().out

    assert "warning: it rose | a lot" in ratchet("r1")
    told = json.loads(ratchet("r1", "--json"))
    assert Path(told["markdown"]).read_text().startswith("# Training r1")
    assert told["cost"] == 0.2
    with pytest.raises(NotFoundError, match="no run 'r9'"):
        ratchet("r9")


def test_a_page_escapes_what_it_is_given() -> None:
    """Neither form lets a cell out of its table."""
    part = Part("a < b", ["one & two", Table(("x|y", "z"), [("<script>", "two\nlines")])])
    page = Page("t & u", "lead <b>", [part])
    assert "<script>" not in as_html(page)
    assert "lead &lt;b&gt;" in as_html(page)
    assert "| x\\|y | z |" in as_markdown(page)
    assert "| <script> | two<br>lines |" in as_markdown(page)


class Balanced(HTMLParser):
    """Fails at an element that is closed by another's end."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the element, unless it has no content."""
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Close the last one."""
        assert self.open.pop() == tag
