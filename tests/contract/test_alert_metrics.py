"""The metrics of alerts, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from core.alert_settings import AlertSettings
from core.clock import utc_now
from core.errors import LogUnavailableError
from core.ids import new_id
from core.settings import LogSettings
from feedback.events import INTERACTIONS_TOPIC
from feedback.job_tables import JobState
from feedback.log.protocol import NewRecord, Partition
from feedback.log.spool import Spool, SpoolLimits
from feedback.store import Store
from feedback.tables import Rollout
from monitoring.alerts.evaluation import Reading
from tests.fakes.memory_log import MemoryLog, MemorySource
from tests.unit.alert_world import NOW, Watch, watch_of
from tests.unit.review_world import review_store

__all__ = ["review_store"]  # fixture


class AwaySource(MemorySource):
    """A cluster that does not answer."""

    def behind(self, positions: Mapping[Partition, int]) -> dict[Partition, int]:
        raise LogUnavailableError("no broker answers at broker:9092")


@pytest.fixture
def watch(store: Store, tmp_path: Path) -> Watch:
    """One rule, nobody to tell."""
    return watch_of(store, tmp_path)


def test_the_error_rate_is_of_answers_that_somebody_waited_for(watch: Watch) -> None:
    """Of the window and the application; not broken off, not shadow."""
    watch.served("...x-")
    watch.served("xx", shadow_of="i1")
    watch.served("xx", started_at=NOW - timedelta(hours=1))
    watch.served("..", "shop")
    assert watch.read("error_rate") == Reading(0.25, 4, "1 of 4 answers")
    assert watch.read("error_rate", "shop") == Reading(0.0, 2, "0 of 2 answers")
    assert watch.read("error_rate", "closed").value is None


@pytest.mark.parametrize(("count", "expected_ms"), [(1, 1.0), (19, 19.0), (20, 19.0), (40, 38.0)])
def test_the_95th_percentile_is_a_latency_that_somebody_had(
    watch: Watch, count: int, expected_ms: float
) -> None:
    """Nearest rank, whatever order they came in; errors are quick and say nothing."""
    for number in range(count, 0, -1):
        watch.served(".", latency_s=number / 1e3)
    watch.served("xx", latency_s=99.0)
    watch.served("...", "shop", latency_s=99.0)
    reading = watch.read("latency_p95_ms")
    assert (reading.value, reading.samples) == (pytest.approx(expected_ms), count)


def test_satisfaction_is_the_mean_vote(watch: Watch) -> None:
    """Stars as they are, thumbs as 5 and 1; only what counts, of those who voted in the window."""
    watch.people.say("?", rating=4, subject="ann")
    watch.people.say("?", thumbs=False, subject="bob")
    watch.people.say("?", thumbs=True, subject="eve")
    watch.people.say("?", correction="no vote", subject="joe")
    with watch.store.engine.begin() as connection:
        connection.execute(text("UPDATE feedback SET effective = false WHERE subject = 'eve'"))
    week_s = 7 * 86_400.0
    watch.now = utc_now().replace(year=2026, month=1, day=5, hour=12)
    assert watch.read("user_satisfaction", window_s=week_s) == Reading(2.5, 2, "2 votes")
    watch.now += timedelta(days=30)
    assert watch.read("user_satisfaction", window_s=week_s).value is None


def test_the_cost_is_of_requests_whose_cost_is_known(watch: Watch) -> None:
    """An unknown one is not free."""
    watch.served(".", cost=0.1)
    watch.served(".", cost=0.3)
    watch.served(".")
    reading = watch.read("cost_per_request")
    assert (reading.value, reading.samples) == (pytest.approx(0.2), 2)


def rolled_back(at: datetime, reason: str, state: str = "rolled_back") -> Rollout:
    return Rollout(
        id=new_id(),
        application="desk",
        canary_adapter="desk--v2",
        state=state,
        salt="s",
        reason=reason,
        finished_at=at,
    )


def test_rollouts_that_were_rolled_back_are_counted(watch: Watch) -> None:
    """The last one's reason is told; none is a number, not a lack of data."""
    assert watch.read("rollouts_rolled_back") == Reading(0.0, 1)
    watch.add(
        rolled_back(NOW - timedelta(minutes=5), "errors"),
        rolled_back(NOW - timedelta(minutes=2), "worse"),
        rolled_back(NOW, "better", "live"),
        rolled_back(NOW - timedelta(hours=2), "long ago"),
    )
    reading = watch.read("rollouts_rolled_back")
    assert reading.value == 2.0
    assert reading.detail.endswith(": worse")
    assert watch.read("rollouts_rolled_back", "shop").value == 0.0


def test_drift_reports_that_ask_for_an_act_are_counted(watch: Watch) -> None:
    """By the columns that this needs of their table; others only watch."""
    with watch.store.engine.begin() as connection:
        connection.execute(text("DROP TABLE IF EXISTS driftreport"))
    assert watch.read("drift_acts").value == 0.0
    kind = "TIMESTAMP WITH TIME ZONE" if watch.store.engine.name == "postgresql" else "DATETIME"
    with watch.store.engine.begin() as connection:
        columns = f"application TEXT, severity TEXT, reason TEXT, made_at {kind}"
        connection.execute(text(f"CREATE TABLE driftreport ({columns})"))
        for severity, minutes in (("act", 1), ("watch", 1), ("act", 60)):
            at = (NOW - timedelta(minutes=minutes)).replace(tzinfo=None).isoformat(" ")
            zone = "+00" if watch.store.engine.name == "postgresql" else ""
            values = {"severity": severity, "at": at + zone}
            connection.execute(
                text("INSERT INTO driftreport VALUES ('desk', :severity, 'new topic', :at)"), values
            )
    assert watch.read("drift_acts") == Reading(1.0, 1, "new topic")


def test_spools_tell_how_full_they_are_and_how_late_ingest_is(watch: Watch) -> None:
    """The fullest one, and the oldest record that waits."""
    assert watch.read("spool_share").value is None
    assert watch.read("ingest_lag_s") == Reading(0.0, 1, "0 records wait")
    watch.settings = watch.settings.model_copy(update={"log": LogSettings(max_bytes=1 << 20)})
    spool = Spool(watch.settings.spool_dir / "gateway-1-a", SpoolLimits(1 << 20))
    spool.append([NewRecord(INTERACTIONS_TOPIC, "k", b"x" * (1 << 18))] * 2)
    spool.close()
    share = watch.read("spool_share")
    assert share.value == pytest.approx(0.5, abs=0.1)
    assert share.detail == "the spool gateway-1-a"
    lag = watch.read("ingest_lag_s")
    assert lag.value is not None
    assert 0.0 <= lag.value < 60.0
    assert lag.detail == "2 records wait"


def test_records_behind_and_failing_jobs_are_counted(watch: Watch) -> None:
    """Of the whole service."""
    log = MemoryLog()
    log.append([NewRecord(INTERACTIONS_TOPIC, "k", b"{}")] * 3)
    watch.source = MemorySource(log)
    assert watch.read("ingest_lag_records").value == 3.0
    watch.add(JobState(name="a", ok=True), JobState(name="b", ok=False, message="full"))
    watch.add(JobState(name="c"))
    assert watch.read("jobs_failing") == Reading(1.0, 1, "b: full")


def test_a_metric_that_cannot_be_read_is_no_data(watch: Watch) -> None:
    """The other rules are still looked at."""
    watch.source = AwaySource(MemoryLog())
    assert watch.read("ingest_lag_records").value is None
    watch.settings = watch.settings.model_copy(update={"alerts": AlertSettings()})
    levels = watch.look().levels
    assert levels["no_data"] > 0
    assert levels["ok"] > 0
