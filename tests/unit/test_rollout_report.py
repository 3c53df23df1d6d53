"""The rollout page: what it says, that it is safe and whole, and verdicts computed again."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest

from core.errors import DataError, NotFoundError
from core.files import json_sha256
from core.settings import CanarySettings
from feedback.store import Store
from feedback.tables import Adapter, DatasetVersion, Interaction, Rollout, Run, VerdictRecord
from monitoring.arms import ArmCounts, RolloutCounts, StepCounts, counts_to_dict
from monitoring.explanation import explain, explain_verdict
from monitoring.report import MAX_RECORDS, read_forecasts, write_rollout_report
from monitoring.verdict import judge, judge_watch
from tests.ready_store import ready_store

RULES = CanarySettings(
    shares=(0.1, 0.5),
    min_s=60.0,
    guardrails=("error", "latency"),
    error_tolerance=0.1,
    latency_tolerance=0.1,
)
BEGAN = datetime(2025, 3, 1, 9, 0, tzinfo=UTC)
EVIL = '<script>alert("x")</script>'


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = ready_store(f"sqlite:///{tmp_path / 'store.db'}")
    yield store
    store.close()


def rollout_row(state: str = "watch", reason: str = "rated better") -> Rollout:
    return Rollout(
        id="r1",
        application="support",
        canary_adapter="support--v2",
        baseline_adapter="support--v1",
        state=state,
        step=2,
        share=0.95,
        salt="s",
        settings=RULES.model_dump(mode="json"),
        reason=reason,
        created_at=BEGAN,
        step_since=BEGAN + timedelta(seconds=90),
    )


def record_row(second: int, counts: RolloutCounts, *, state: str = "canary") -> VerdictRecord:
    """Judge the counts as the conductor would and return the record."""
    step = counts.steps[-1].step
    watch = state == "watch"
    verdict = judge_watch(counts, RULES) if watch else judge(counts, RULES, elapsed_s=second)
    return VerdictRecord(
        id=f"verdict-{second:05}",
        rollout_id="r1",
        state=state,
        step=step,
        share=0.95 if watch else RULES.shares[step],
        decision=verdict.decision,
        reason=verdict.reason,
        counts=counts_to_dict(counts),
        numbers=verdict.numbers,
        settings_hash=json_sha256(RULES.model_dump(mode="json")),
        created_at=BEGAN + timedelta(seconds=second),
    )


def grown(step: int, exposures: int) -> RolloutCounts:
    """Return counts in which the canary is far better than the baseline."""
    half = exposures // 2
    arms = ArmCounts(exposures, half, half // 10), ArmCounts(exposures, half, half - half // 10)
    return RolloutCounts((StepCounts(step, *arms),))


RECORDS = (
    record_row(10, grown(0, 20)),
    record_row(60, grown(1, 60)),
    record_row(90, grown(1, 200)),
    record_row(120, grown(2, 30), state="watch"),
)


def add_rollout(
    store: Store, rollout: Rollout, records: tuple[VerdictRecord, ...] = RECORDS
) -> None:
    with store.session() as session:
        session.add(rollout)
        session.add_all([VerdictRecord(**record.model_dump()) for record in records])
        session.commit()


def add_adapter(store: Store, *, override_reason: str | None) -> None:
    with store.session() as session:
        session.add(
            Adapter(
                name="support--v2",
                application="support",
                base_model="small-instruct",
                path="adapters/2",
                run_id="run-7",
                dataset_id="support--d3",
                rank=16,
                gate={"decision": "fail", "reasons": ["loss 2.5 above 1.9"]},
                override_by="ops@example.org" if override_reason else None,
                override_reason=override_reason,
                created_by="retrain",
                content_hash="c0ffee",
            )
        )
        session.add(
            Run(
                id="run-7",
                application="support",
                dataset_id="support--d3",
                recipe="sft-lora",
                mode="full",
                reason="391 new approved examples",
                status="finished",
                folder="runs/7",
                metrics={"eval": {"loss": 1.25}},
            )
        )
        session.add(
            DatasetVersion(
                id="support--d3",
                application="support",
                path="datasets/3",
                content_hash="decaf",
                train_rows=310,
                validation_rows=40,
                test_rows=41,
                new_rows=391,
            )
        )
        session.commit()


class Balance(HTMLParser):
    """Fails on a tag that is closed wrongly or never."""

    VOID = frozenset({"meta", "br", "hr", "img", "link", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_page_tells_the_decision_and_its_numbers(store: Store, tmp_path: Path) -> None:
    """Headline, who, when, why, verdict, timeline, guardrails, counts and settings are there."""
    add_rollout(store, rollout_row())
    path = write_rollout_report(store, "r1", tmp_path / "reports")
    page = path.read_text()
    assert path.name == "rollout-r1.html"
    assert "<h1>support--v2 was promoted and is being watched</h1>" in page
    assert "Decided by conductor on 2025-03-01 09:01:30 UTC: rated better." in page
    assert "Verdict of 2025-03-01 09:01:30 UTC: promote" in page
    assert "<dt>canary, step 1 of 2 (10 %)</dt><dd>since 2025-03-01 09:00:10 UTC" in page
    assert "<dt>watch (95 %)</dt>" in page
    assert "<td>latency</td><td>+10 %</td>" in page
    assert "<td>2 of 2 (50 %)</td><td>canary</td><td>200</td>" in page
    assert "<dt>alpha_promote</dt><dd>0.05</dd>" in page
    assert "support--v2 has no row in the registry" in page


def test_page_is_whole_in_itself(store: Store, tmp_path: Path) -> None:
    """Tags balance, five drawings share no id or fixed colour, nothing is fetched or run."""
    add_rollout(store, rollout_row())
    add_adapter(store, override_reason=None)
    page = write_rollout_report(store, "r1", tmp_path).read_text()
    balance = Balance()
    balance.feed(page)
    assert balance.open == []
    assert page.count("<svg ") == 5
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    drawings = "".join(re.findall(r"<svg.*?</svg>", page, re.DOTALL))
    assert "var(--canary)" in drawings
    assert not re.findall(r"[:\"]\s*#[0-9a-f]{6}\b", drawings)
    assert not re.findall(r'(?:src|href)="(?!#)', page.replace("xlink:href", "href"))
    assert "<script" not in page
    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport"' in page


def test_page_shows_the_adapter_and_its_override(store: Store, tmp_path: Path) -> None:
    """Dataset, run and gate are named, and an override stands out."""
    add_rollout(store, rollout_row())
    add_adapter(store, override_reason="a drill")
    page = write_rollout_report(store, "r1", tmp_path).read_text()
    banner = "Gate overridden: ops@example.org sent it past a failed gate: a drill."
    assert f'<p class="override">{banner}</p>' in page
    for fact in ("support--d3", "310 train, 40 validation, 41 test", "run-7", "sft-lora, full"):
        assert fact in page
    assert "<dt>Gate: decision</dt><dd>fail</dd>" in page
    assert "<dt>Metric: eval.loss</dt><dd>1.25</dd>" in page


def test_page_without_override_has_no_banner(store: Store, tmp_path: Path) -> None:
    """An adapter that passed its gate needs no warning."""
    add_rollout(store, rollout_row())
    add_adapter(store, override_reason=None)
    page = write_rollout_report(store, "r1", tmp_path).read_text()
    assert '<p class="override">' not in page
    assert "<dt>Gate overridden by</dt><dd>nobody</dd>" in page


def test_page_escapes_what_comes_from_rows(store: Store, tmp_path: Path) -> None:
    """A reason or an adapter name cannot bring markup into the page."""
    rollout = rollout_row("rolled_back", EVIL)
    rollout.canary_adapter = EVIL
    add_rollout(store, rollout)
    page = write_rollout_report(store, "r1", tmp_path).read_text()
    assert "<script" not in page
    assert "&lt;script&gt;alert(&quot;x&quot;)" in page
    assert 'class="lead rolled_back"' in page


def test_page_of_an_unjudged_rollout_counts_what_is_there(store: Store, tmp_path: Path) -> None:
    """Before the first verdict the page has no drawings but today's counts."""
    rollout = rollout_row("canary", "ready")
    rollout.step = 0
    add_rollout(store, rollout, ())
    with store.session() as session:
        session.add(
            Interaction(
                id="i1",
                application="support",
                rollout_id="r1",
                arm="canary",
                step=0,
                endpoint="/v1/chat/completions",
                requested_model="support",
                latency_s=1.0,
                started_at=BEGAN,
                event_id="e1",
            )
        )
        session.commit()
    page = write_rollout_report(store, "r1", tmp_path).read_text()
    assert "No verdict has been recorded yet." in page
    assert "Not judged yet." in page
    assert "<td>1 of 2 (10 %)</td><td>canary</td><td>1</td>" in page


def test_unknown_rollout_is_named(store: Store, tmp_path: Path) -> None:
    """Asking for a rollout that does not exist says so and writes nothing."""
    with pytest.raises(NotFoundError, match="r9"):
        write_rollout_report(store, "r9", tmp_path / "reports")
    assert not (tmp_path / "reports").exists()


def test_long_rollouts_are_thinned_but_keep_each_turn(store: Store, tmp_path: Path) -> None:
    """Of thousands of verdicts the page keeps a few hundred, with the one that decided."""
    many = tuple(
        RECORDS[0].model_copy(
            update={"id": f"m{i:05}", "created_at": BEGAN + timedelta(milliseconds=i)}
        )
        for i in range(3 * MAX_RECORDS)
    )
    add_rollout(store, rollout_row(), (*many, *RECORDS[1:]))
    page = write_rollout_report(store, "r1", tmp_path).read_text()
    assert "Verdict of 2025-03-01 09:01:30 UTC: promote" in page
    assert len(page) < 200_000


@pytest.mark.parametrize("record", RECORDS, ids=lambda r: f"{r.state}-{r.decision}")
def test_stored_verdict_can_be_computed_again(store: Store, record: VerdictRecord) -> None:
    """From the stored counts and settings comes the very verdict that was stored."""
    add_rollout(store, rollout_row())
    with store.session() as session:
        stored = session.get_one(VerdictRecord, record.id)
        again = explain_verdict(stored, session.get_one(Rollout, "r1"))
    assert again.decision == stored.decision
    assert again.reason == stored.reason
    assert again.numbers == stored.numbers


@pytest.mark.parametrize("named", ["verdict-00090", "r1"])
def test_a_verdict_is_explained_by_its_id_or_its_rollouts(store: Store, named: str) -> None:
    """A rollout's last decisive verdict stands for it; every stored number comes out again."""
    add_rollout(store, rollout_row())
    with store.session() as session:
        told = explain(session, named)
        plain = told.plain()
    assert (told.same, told.differences, told.record.id) == (True, (), "verdict-00090")
    assert plain["again"]["numbers"] == plain["verdict"]["numbers"]
    assert json.loads(json.dumps(plain, allow_nan=False))["same"] is True


def test_a_changed_number_is_found(store: Store) -> None:
    """What was stored and what comes out are both told, by the number's name."""
    changed = RECORDS[2].model_copy(update={"decision": "hold"})
    changed.numbers = changed.numbers | {"evidence": {"better": {"log10": 9.0}}}
    add_rollout(store, rollout_row(), (changed,))
    with store.session() as session:
        told = explain(session, "r1")
    assert not told.same
    assert told.differences[0] == "decision: stored 'hold', now 'promote'"
    assert told.differences[1].startswith("numbers.evidence.better.log10: stored 9.0, now ")


def test_a_verdict_of_an_older_version_is_explained(store: Store) -> None:
    """Settings and counts that it did not know are off and 0, and its numbers come out again."""
    rollout = rollout_row()
    new = {"guardrails", "alpha_mismatch", "response_window_s", "strata", "stratify_by"}
    rollout.settings = {k: v for k, v in rollout.settings.items() if k not in new}
    old = RECORDS[2].model_copy(update={"settings_hash": json_sha256(rollout.settings)})
    kept = ("exposures", "ratings", "good", "errors", "slow")
    (step,) = old.counts["steps"]
    arms = {arm: {name: step[arm][name] for name in kept} for arm in ("baseline", "canary")}
    old.counts = old.counts | {"steps": [{"step": step["step"]} | arms]}
    old.numbers = {k: v for k, v in old.numbers.items() if k not in {"mismatch", "arms"}}
    add_rollout(store, rollout, (old,))
    with store.session() as session:
        assert explain(session, old.id).same


def test_what_cannot_be_explained_is_named(store: Store) -> None:
    """An unknown id, and a rollout that was not judged yet."""
    add_rollout(store, rollout_row(), ())
    with store.session() as session:
        with pytest.raises(NotFoundError, match="no verdict or rollout 'r9'"):
            explain(session, "r9")
        with pytest.raises(NotFoundError, match="no verdict yet"):
            explain(session, "r1")


def test_a_holding_rollout_says_what_is_missing(store: Store, tmp_path: Path) -> None:
    """The newest verdict's forecast is on the page and in the list of rollouts."""
    holding = record_row(60, grown(0, 30))
    rollout = rollout_row("canary", "started")
    rollout.step = 0
    add_rollout(store, rollout, (holding,))
    says = holding.numbers["forecast"]["says"]
    assert " more ratings at 10%" in says
    assert says in write_rollout_report(store, "r1", tmp_path).read_text()
    with store.session() as session:
        assert read_forecasts(session)["r1"]["says"] == says
        rollout = session.get_one(Rollout, "r1")
        rollout.finished_at = BEGAN
        session.add(rollout)
        session.commit()
        assert read_forecasts(session) == {}


def test_verdict_is_not_explained_by_other_settings(store: Store) -> None:
    """Settings that changed since are refused instead of giving another verdict."""
    rollout = rollout_row()
    rollout.settings = rollout.settings | {"margin": 0.2}
    with pytest.raises(DataError, match="verdict-00090"):
        explain_verdict(RECORDS[2], rollout)


def test_only_the_drawings_import_matplotlib() -> None:
    """Judging and counting start without loading a drawing library."""
    package = Path(__file__).parents[2] / "monitoring"
    users = {path.name for path in package.glob("*.py") if "from matplotlib" in path.read_text()}
    assert users == {"drawing.py", "plots.py"}
