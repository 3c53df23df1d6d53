"""The judge of the gate: both orders, ties, what cannot be read, and what is missing."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from pydantic import SecretStr

from core.errors import SettingsError
from core.gate_settings import GateJudgeSettings
from retrain.gate.answering import FOLDER, JUDGE_FILE, ToJudge
from retrain.gate.judging import judged, win
from retrain.gate.suite import Question, Suite, SuiteScores
from tests.fakes.engine import BASE, FakeEngine

SUITE = Suite("a judge compares", "test", "judge", name="judge", max_drop=0.1)
ASKED = {"judge": SuiteScores(SUITE, skipped="its judge is asked later")}
BETTER, WORSE = "a clear answer", "mumbling"


def write_pairs(folder: Path, *pairs: tuple[str, str]) -> None:
    """Write both answers to some questions, as a job leaves them."""
    lines = [
        msgspec.json.encode(
            ToJudge("judge", Question(({"role": "user", "content": f"{n}?"},)), mine, theirs)
        )
        for n, (mine, theirs) in enumerate(pairs)
    ]
    path = folder / FOLDER / JUDGE_FILE
    path.parent.mkdir()
    path.write_bytes(b"\n".join(lines))


def prefers_clear(_model: str, prompt: str) -> str:
    """Say which of the two answers is the clear one."""
    first = prompt.partition("Answer 1:")[2].partition("Answer 2:")[0]
    second = prompt.partition("Answer 2:")[2]
    if (BETTER in first) == (BETTER in second):
        return json.dumps({"better": 1})  # it likes what comes first
    return json.dumps({"better": 1 if BETTER in first else 2})


def unheard(done: int, total: int) -> None:
    """Hear of the judge's progress, and do nothing."""


def settings(engine: FakeEngine, retries: int = 2) -> GateJudgeSettings:
    """Return a judge that the fake engine plays."""
    return GateJudgeSettings(
        base_url=f"{engine.url}/v1", model=BASE, api_key=SecretStr("key"), retries=retries
    )


def test_judge_compares_in_both_orders(tmp_path: Path) -> None:
    """A better answer wins, a worse one loses, and a preference for a place is a tie."""
    write_pairs(tmp_path, (BETTER, WORSE), (WORSE, BETTER), (WORSE, WORSE))
    told: list[tuple[int, int]] = []
    with FakeEngine() as engine:
        engine.reply = prefers_clear
        found = judged(tmp_path, ASKED, settings(engine), lambda a, b: told.append((a, b)))
        assert len(engine.bodies) == 6
    assert found["judge"].candidate == (1.0, 0.0, 0.5)
    assert found["judge"].other == (0.0, 1.0, 0.5)
    assert found["judge"].skipped is None
    assert sorted(told) == [(1, 3), (2, 3), (3, 3)]


def test_judge_that_writes_no_json_is_told(tmp_path: Path) -> None:
    """A model that cannot judge is no judge: the settings are named."""
    write_pairs(tmp_path, (BETTER, WORSE))
    with FakeEngine() as engine:
        engine.reply = lambda _model, _prompt: "I like both"
        with pytest.raises(SettingsError, match="no verdict that can be read"):
            judged(tmp_path, ASKED, settings(engine), unheard)


def test_judge_that_is_away_is_told(tmp_path: Path) -> None:
    """An unreachable judge stops the registration, which can be tried again."""
    write_pairs(tmp_path, (BETTER, WORSE))
    with FakeEngine() as engine:
        away = settings(engine, retries=0)
    with pytest.raises(SettingsError, match="does not answer"):
        judged(tmp_path, ASKED, away, unheard)


def test_without_a_judge_the_suite_says_so(tmp_path: Path) -> None:
    """Nothing is sent anywhere unless a judge is named."""
    write_pairs(tmp_path, (BETTER, WORSE))
    found = judged(tmp_path, ASKED, GateJudgeSettings(), unheard)
    assert found["judge"].skipped == "no judge: set gate.judge.model"


def test_other_suites_stay_as_they_are(tmp_path: Path) -> None:
    """Only suites of the metric `judge` are touched."""
    other = {"test": SuiteScores(Suite("", "test", "token_f1", name="test"), ("k",), (1.0,))}
    assert judged(tmp_path, other, GateJudgeSettings(), unheard) == other


@pytest.mark.parametrize(
    ("words", "expected"),
    [((1, 2), 1.0), ((2, 1), 0.0), ((1, 1), 0.5), ((0, 2), 0.5), ((None, 2), None)],
)
def test_both_orders_must_agree(words: tuple[int | None, int | None], expected: float) -> None:
    """The first word is of the order candidate first, the second of the other."""
    assert win(*words) == expected
