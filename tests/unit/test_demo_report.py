"""The demo's report: what it promises, what it writes, and how evidence becomes its values."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from core.clock import utc_now
from core.settings import CanarySettings
from feedback.tables import Rollout, VerdictRecord
from loop.demo.evidence import (
    machine_facts,
    pick_samples,
    read_records,
    rollout_track,
    seen_answers,
)
from loop.demo.report import print_summary, write_demo_report
from loop.demo.result import (
    DemoResult,
    Drift,
    GoodAdapter,
    HeldoutShare,
    LossCurve,
    Phase,
    Retraining,
    RolloutTrack,
    Sample,
    SeenAnswer,
    SpoiledAdapter,
    shortcomings,
    to_json,
)

TRACK = RolloutTrack(
    times_s=(5.0, 15.0, 30.0),
    share=(0.05, 0.25, 0.5),
    better_log10=(0.0, 0.7, 1.5),
    worse_log10=(0.0, None, -1.2),
    promote_at_log10=1.3,
    roll_back_at_log10=1.3,
    report_file="reports/rollout-1.html",
)
ANSWERS = tuple(
    SeenAnswer(number * 1.0, "base" if number < 80 else "desk--v1", number % 7 == 0 or number > 90)
    for number in range(200)
)
RESULT = DemoResult(
    heldout=HeldoutShare(base=0.08, promoted=0.64, questions=174),
    good=GoodAdapter("desk--v1", "pass", "promoted", "conductor", 57, "E=31 of 20", TRACK),
    drift=Drift(
        detected_after_interactions=41,
        reason="meaning of prompts changed",
        words=("glowbox", "lamp"),
        examples=("How <much> is it?", "price of the glowbox?"),
        report_file="data/monitoring/drift/w1/report.html",
        retraining=Retraining("incremental", "run-2", "desk--v2", "drift: inputs have shifted"),
        gate="pass",
        decision="promoted",
        decided_by="conductor",
        heldout=HeldoutShare(0.0, 0.5, 18),
        known=HeldoutShare(0.64, 0.6, 174),
        track=replace(TRACK, report_file="reports/rollout-2.html"),
    ),
    spoiled=SpoiledAdapter(
        "desk--v3", "fail", "olga", "rolled_back", "conductor", 44, "E=25 of 20", TRACK
    ),
    phases=(Phase("collect", 0.0, 80.0), Phase("canary", 80.0, 120.5)),
    answers=ANSWERS,
    losses=(LossCurve("desk--v1", (1, 2, 3), (3.2, 2.0, 1.1)),),
    samples=(Sample("How <fast>?", "<b>No</b> idea", False, "4 hours", True),),
    details={"machine": {"cores": 2, "cpu": "x & y"}, "seed": 7},
)


def test_a_run_that_shows_everything_has_no_shortcomings() -> None:
    """Doubled, promoted by the verdict, stopped, forced and rolled back: all well."""
    assert shortcomings(RESULT) == []


@pytest.mark.parametrize(
    ("part", "change", "told"),
    [
        ("heldout", {"promoted": 0.15}, "from 8.0% to 15.0%: it did not double"),
        ("heldout", {"base": 0.0, "promoted": 0.0}, "did not double"),
        ("good", {"gate": "fail"}, "good adapter's gate said fail"),
        ("good", {"decision": "inconclusive"}, "good adapter was inconclusive"),
        ("good", {"decided_by": "olga"}, "good adapter was decided by olga"),
        ("drift", {"words": ()}, "named no new cluster"),
        ("drift", {"examples": ()}, "named no new cluster"),
        (
            "drift",
            {"retraining": Retraining("full", "r", "a", "drift: x")},
            "full, not incremental",
        ),
        ("drift", {"retraining": Retraining("incremental", "r", "a", "growth: x")}, "growth: x"),
        ("drift", {"gate": "fail"}, "retrained adapter's gate said fail"),
        ("drift", {"decision": "inconclusive"}, "retrained adapter was inconclusive"),
        ("drift", {"decided_by": "olga"}, "retrained adapter was decided by olga"),
        ("drift", {"heldout": HeldoutShare(0.5, 0.5, 18)}, "it did not grow"),
        ("spoiled", {"gate": "pass"}, "spoiled adapter's gate said pass"),
        ("spoiled", {"override_by": None}, "No operator"),
        ("spoiled", {"decision": "promoted"}, "spoiled adapter was promoted"),
        ("spoiled", {"decided_by": "olga"}, "spoiled adapter was decided by olga"),
    ],
)
def test_every_missing_part_is_one_shortcoming(
    part: str, change: dict[str, Any], told: str
) -> None:
    """Each promise of the demo is checked on its own."""
    worse = replace(RESULT, **{part: replace(getattr(RESULT, part), **change)})
    (sentence,) = shortcomings(worse)
    assert told in sentence


def test_exactly_twice_the_base_is_doubled() -> None:
    """The bound itself counts as reached."""
    assert shortcomings(replace(RESULT, heldout=HeldoutShare(0.25, 0.5, 10))) == []


def test_the_json_report_has_exactly_the_promised_keys(folder: Path) -> None:
    """Machines find the numbers under fixed names; all else is under details."""
    report = json.loads((folder / "report.json").read_text())
    details = report.pop("details")
    assert report == {
        "heldout_good_share": {"base": 0.08, "promoted": 0.64},
        "good_adapter": {
            "gate": "pass",
            "decision": "promoted",
            "decided_by": "conductor",
            "ratings_to_decision": 57,
        },
        "drift": {
            "detected_after_interactions": 41,
            "cause": {
                "reason": "meaning of prompts changed",
                "words": ["glowbox", "lamp"],
                "examples": ["How <much> is it?", "price of the glowbox?"],
                "report": "data/monitoring/drift/w1/report.html",
            },
            "retraining": {
                "kind": "incremental",
                "run": "run-2",
                "adapter": "desk--v2",
                "reason": "drift: inputs have shifted",
            },
            "decision": "promoted",
            "heldout_good_share": {"before": 0.0, "after": 0.5},
        },
        "spoiled_adapter": {
            "gate": "fail",
            "override_by": "olga",
            "decision": "rolled_back",
            "exposures_before_rollback": 44,
        },
        "seconds": {"collect": 80.0, "canary": 120.5},
    }
    assert details["machine"] == {"cores": 2, "cpu": "x & y"}
    assert details["traffic_good_share"]["base"] == {"answers": 80, "good_share": 12 / 80}
    assert details["shortcomings"] == []
    assert details["drift"]["known_topics_good_share"] == {"before": 0.64, "after": 0.6}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with both reports of `RESULT`."""
    folder = tmp_path_factory.mktemp("report") / "demo"
    assert write_demo_report(RESULT, folder) == folder / "report.html"
    return folder


class Page(HTMLParser):
    """Collects what a test asks about, and checks that all tags are closed in order."""

    VOID = frozenset({"meta", "br", "path", "use", "rect", "link", "img"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def test_the_page_is_whole_in_itself_and_escapes_what_models_wrote(folder: Path) -> None:
    """Nothing is fetched or run, every drawing is spoken, and answers cannot break the page."""
    text = (folder / "report.html").read_text()
    page = Page(text)
    assert page.open == []
    tags = [tag for tag, _ in page.seen]
    assert tags.count("svg") == 10
    assert all(a.get("aria-label") for tag, a in page.seen if tag == "svg")
    assert not {"script", "link", "img", "iframe", "b"} & set(tags)
    links = [a["href"] for tag, a in page.seen if tag == "a"]
    drift = ["data/monitoring/drift/w1/report.html", "reports/rollout-2.html"]
    assert links == ["reports/rollout-1.html", *drift, "reports/rollout-1.html"]
    assert "How &lt;fast&gt;?" in text
    assert "<li>How &lt;much&gt; is it?</li>" in text
    assert "by: glowbox, lamp." in text
    assert "8% before, 64% after" in text


def test_the_drawings_take_their_colours_from_the_page(folder: Path) -> None:
    """No stand-in colour is left, and no id is used twice."""
    text = (folder / "report.html").read_text()
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert not re.search(r"#0[1-9]0[1-9]0[1-9]", text)
    assert len(ids) == len(set(ids))
    assert "var(--canary)" in text


def test_the_page_says_what_was_not_shown(tmp_path: Path, folder: Path) -> None:
    """A report of a failed demo does not look like one of a good demo."""
    worse = replace(
        RESULT,
        good=replace(RESULT.good, decision="inconclusive", track=None),
        spoiled=replace(RESULT.spoiled, track=None),
        answers=(),
    )
    text = write_demo_report(worse, tmp_path).read_text()
    assert "Not shown: The good adapter was inconclusive" in text
    assert "Not shown" not in (folder / "report.html").read_text()


def test_a_demo_that_ended_early_can_still_be_reported(tmp_path: Path) -> None:
    """Without traffic, losses, samples and rollouts the page is written all the same."""
    bare = DemoResult(
        heldout=HeldoutShare(0.0, 0.0, 0),
        good=GoodAdapter("desk--v1", "fail", "undecided", "nobody", 0),
        drift=replace(RESULT.drift, words=(), examples=(), track=None),
        spoiled=SpoiledAdapter("desk--v2", "fail", None, "undecided", "nobody", 0),
        phases=(),
    )
    page = Page(write_demo_report(bare, tmp_path).read_text())
    assert page.open == []
    assert to_json(bare)["seconds"] == {}


def test_the_summary_names_the_numbers_and_what_is_missing() -> None:
    """An operator sees in the terminal what the files say."""
    console = Console(file=io.StringIO(), width=120, color_system=None)
    print_summary(console, RESULT)
    worse = replace(RESULT, spoiled=replace(RESULT.spoiled, override_by=None))
    print_summary(console, worse)
    assert isinstance(console.file, io.StringIO)
    good, bad = console.file.getvalue().split("Everything that the demo promises was shown.")
    assert "64.0% of 174 questions" in good
    assert "desk--v1: gate pass, promoted by the verdict" in good
    assert "41 questions of a new topic" in good
    assert "desk--v2, incremental: gate pass, promoted by the verdict" in good
    assert "0.0% before, 50.0% after, of 18 questions" in good
    assert "Not shown: No operator sent the spoiled adapter past the gate." in bad


def _record(question: str, **changes: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "time": 100.0,
        "question": question,
        "fact": f"fact-{question}",
        "adapter": "base",
        "text": f"answer to {question}",
        "good": False,
        "error": None,
    }
    return plain | changes


def test_crowd_lines_are_read_up_to_a_cut_off_one(tmp_path: Path) -> None:
    """A crowd that was killed while writing costs its last line alone."""
    file = tmp_path / "out.jsonl"
    file.write_text(json.dumps(_record("a")) + "\n" + json.dumps(_record("b"))[:20])
    assert read_records(file) == [_record("a")]


def test_seen_answers_are_in_order_of_time_and_leave_out_errors() -> None:
    """Files of several crowds can be put together; times count from the demo's start."""
    records = [
        _record("b", time=130.0, good=True, adapter="desk--v1"),
        _record("a", time=120.0),
        _record("c", error="APIConnectionError: no"),
    ]
    assert seen_answers(records, began=100.0) == (
        SeenAnswer(20.0, "base", False),
        SeenAnswer(30.0, "desk--v1", True),
    )


def test_samples_are_spread_over_facts_that_both_answered() -> None:
    """Before and after belong to the same question, and no fact is shown twice."""
    base = [_record(f"{number:02d}") for number in range(20)]
    base += [_record("another", fact="fact-00"), _record("only before")]
    promoted = [_record(r["question"], text="after", good=True) for r in base[:-1]]
    samples = pick_samples(base, promoted, 5)
    assert [sample.question for sample in samples] == ["another", "04", "08", "12", "16"]
    assert {(s.base_good, s.promoted, s.promoted_good) for s in samples} == {(False, "after", True)}
    assert len(pick_samples(base, promoted, 100)) == 20
    assert pick_samples(base, [], 5) == ()


def test_a_track_holds_the_verdicts_before_the_watch_in_order() -> None:
    """What the page draws of a rollout is what the conductor recorded."""
    began = utc_now()
    rules = CanarySettings(alpha_promote=0.1, alpha_roll_back=0.01)
    rollout = Rollout(
        id="r",
        application="desk",
        canary_adapter="desk--v1",
        state="live",
        salt="s",
        settings=rules.model_dump(mode="json"),
        created_at=began,
    )
    records = [
        VerdictRecord(
            id=str(after_s),
            rollout_id="r",
            state=state,
            step=0,
            share=share,
            decision="hold",
            reason="",
            numbers={"evidence": {"better": {"log10": 1.0}, "worse": {"log10": -share}}},
            settings_hash="",
            created_at=(began + timedelta(seconds=after_s)).replace(tzinfo=None),
        )
        for after_s, state, share in ((9, "canary", 0.5), (3, "canary", 0.05), (12, "watch", 0.9))
    ]
    assert rollout_track(rollout, records, "x.html") == RolloutTrack(
        times_s=(3.0, 9.0),
        share=(0.05, 0.5),
        better_log10=(1.0, 1.0),
        worse_log10=(-0.05, -0.5),
        promote_at_log10=pytest.approx(1.0),  # pyright: ignore[reportArgumentType]
        roll_back_at_log10=pytest.approx(2.0),  # pyright: ignore[reportArgumentType]
        report_file="x.html",
    )


def test_the_machine_is_described_even_where_the_kernel_names_no_processor(tmp_path: Path) -> None:
    """Cores and memory are always known, the processor's name where it is told."""
    told = tmp_path / "cpuinfo"
    told.write_text("processor : 0\nmodel name : Some CPU @ 2 GHz\n")
    assert machine_facts(told)["cpu"] == "Some CPU @ 2 GHz"
    told.write_text("processor : 0\n")
    assert machine_facts(told)["cpu"] == "unknown"
    facts = machine_facts(tmp_path / "absent")
    assert facts["cpu"] == "unknown"
    assert facts["cores"] >= 1
    assert facts["memory_gib"] > 0.0
