"""Guardrails: what each counts, that harm and safety are told apart, and their error rate."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from core.canary_settings import GUARDRAILS, CanarySettings, GuardrailName, rules_of
from core.refusals import refuses
from monitoring.arms import ArmCounts, RolloutCounts, StepCounts, arm_total, step_totals
from monitoring.guardrails import KINDS, guardrails
from monitoring.verdict import judge, judge_watch

RULES = CanarySettings(shares=(0.1, 0.5), min_s=0.0, min_ratings=20)
# what an exposure must be to count for the guardrail
FIELDS: dict[GuardrailName, str] = {
    "error": "errors",
    "latency": "slow",
    "ttft": "slow_start",
    "too_long": "long",
    "too_short": "short",
    "truncated": "truncated",
    "refusal": "refusals",
    "thumbs_down": "thumbs_down",
    "unrated": "unrated",
}
CLEAN = ArmCounts(exposures=600, ratings=200, good=40, settled=600)
LOVED = replace(CLEAN, good=160)


def one_step(baseline: ArmCounts, canary: ArmCounts, step: int = 1) -> RolloutCounts:
    return RolloutCounts((StepCounts(step, baseline, canary),))


def test_every_guardrail_of_the_design_is_there() -> None:
    """Nine shares; each has its counter and its tolerance."""
    assert tuple(KINDS) == GUARDRAILS == tuple(FIELDS) == RULES.guardrails
    assert all(0.0 < kind.tolerance(RULES) <= 0.05 for kind in KINDS.values())


def test_a_canary_that_harms_nothing_is_promoted_by_the_defaults() -> None:
    """All nine are shown within 600 exposures of each arm."""
    verdict = judge(one_step(CLEAN, LOVED), RULES, elapsed_s=1.0)
    assert verdict.decision == "promote", verdict.reason
    assert list(verdict.numbers["guardrails"]) == list(GUARDRAILS)


@pytest.mark.parametrize("name", GUARDRAILS)
def test_each_guardrail_alone_rolls_back(name: GuardrailName) -> None:
    """However loved the canary is; the reason names the guardrail. In the watch, too."""
    harmful = replace(LOVED, **{FIELDS[name]: 120})
    verdict = judge(one_step(CLEAN, harmful), RULES, elapsed_s=1.0)
    assert verdict.decision == "roll_back"
    assert verdict.reason.startswith(f"{name} guardrail: share above baseline + ")
    assert judge_watch(one_step(CLEAN, harmful, step=2), RULES).decision == "roll_back"


@pytest.mark.parametrize("name", GUARDRAILS)
def test_each_guardrail_alone_holds_until_it_is_shown(name: GuardrailName) -> None:
    """A share at the tolerance is neither harm nor safe: the promotion waits."""
    at_the_edge = round(600 * KINDS[name].tolerance(RULES))
    open_ = replace(LOVED, **{FIELDS[name]: at_the_edge})
    verdict = judge(one_step(CLEAN, open_), RULES, elapsed_s=1.0)
    assert verdict.decision == "hold"
    assert verdict.reason.startswith(f"{name} guardrail not shown yet")


@pytest.mark.parametrize("name", GUARDRAILS)
def test_a_guardrail_that_is_off_says_nothing(name: GuardrailName) -> None:
    """Neither harm nor proof is asked of it."""
    others = tuple(n for n in GUARDRAILS if n != name)
    rules = RULES.model_copy(update={"guardrails": others})
    harmful = replace(LOVED, **{FIELDS[name]: 600})
    verdict = judge(one_step(CLEAN, harmful), rules, elapsed_s=1.0)
    assert verdict.decision == "promote"
    assert name not in verdict.numbers["guardrails"]


def test_shares_are_of_what_each_guardrail_counts() -> None:
    """Feedback is a share of settled exposures, the others of all; without any there is none."""
    canary = ArmCounts(exposures=10, errors=1, settled=4, unrated=3)
    found = {g.name: g.plain() for g in guardrails(one_step(ArmCounts(), canary).steps, RULES)}
    assert found["error"]["canary"] == pytest.approx(0.1)
    assert found["unrated"]["canary"] == pytest.approx(0.75)
    assert found["error"]["baseline"] is None


counts = st.integers(0, 60)


@st.composite
def arms(draw: st.DrawFn) -> ArmCounts:
    """Return counts that can be: no part is larger than its whole."""
    exposures, settled = draw(counts), draw(counts)
    whole = {"thumbs_down": settled, "unrated": settled}
    parts = {f: draw(st.integers(0, whole.get(f, exposures))) for f in FIELDS.values()}
    return ArmCounts(exposures=exposures, settled=settled, **parts)


@given(baseline=arms(), canary=arms())
@settings(max_examples=60, deadline=None)
def test_no_guardrail_is_both_harmed_and_safe(baseline: ArmCounts, canary: ArmCounts) -> None:
    """The same counts never prove a statement and its opposite."""
    for guardrail in guardrails(one_step(baseline, canary).steps, RULES):
        assert not (guardrail.harm.reached and guardrail.safe.reached)


@given(arms(), arms(), arms(), arms())
@settings(max_examples=30, deadline=None)
def test_sums_of_strata_are_sums(a: ArmCounts, b: ArmCounts, c: ArmCounts, d: ArmCounts) -> None:
    """The totals of a step are those of its strata."""
    steps = (StepCounts(0, a, b, "en"), StepCounts(0, c, d, "de"), StepCounts(1, a, d))
    first, second = step_totals(steps)
    assert first == StepCounts(0, arm_total((a, c)), arm_total((b, d)))
    assert second == StepCounts(1, a, d)


def test_nine_guardrails_seldom_roll_back_what_harms_none() -> None:
    """Looking 15 times at each of nine shares that are equal in both arms: below alpha of all."""
    rng, wrong, rollouts = random.Random(7), 0, 60
    for _ in range(rollouts):
        base = dict.fromkeys(FIELDS.values(), 0)
        cells = {"baseline": base | {"n": 0}, "canary": base | {"n": 0}}
        for _look in range(15):
            for cell in cells.values():
                cell["n"] += 40
                for field in FIELDS.values():
                    cell[field] += sum(rng.random() < 0.2 for _ in range(40))
            if any(g.harm.reached for g in guardrails(_counted(cells).steps, RULES)):
                wrong += 1
                break
    assert wrong <= rollouts * RULES.alpha_guardrail * len(GUARDRAILS)


def _counted(cells: dict[str, dict[str, int]]) -> RolloutCounts:
    found = {
        arm: ArmCounts(exposures=c["n"], settled=c["n"], **{f: c[f] for f in FIELDS.values()})
        for arm, c in cells.items()
    }
    return one_step(found["baseline"], found["canary"])


@pytest.mark.parametrize(
    ("given_", "told"),
    [
        ({"guardrails": ["error", "error"]}, "each guardrail once"),
        ({"guardrails": ["errors"]}, "guardrails"),
        ({"stratify_by": "language", "strata": ["en"]}, "metadata.NAME"),
        ({"stratify_by": "metadata.language"}, "needs strata"),
        ({"alpha_mismatch": 1.0}, "alpha_mismatch"),
    ],
)
def test_wrong_rules_are_named(given_: dict[str, Any], told: str) -> None:
    """A wrong setting says which it is and what would be right."""
    with pytest.raises(ValidationError, match=told):
        CanarySettings.model_validate(given_)


def test_rules_of_an_older_rollout_keep_what_it_lived_by() -> None:
    """Guardrails and tests that its version did not know are off for it."""
    new = CanarySettings().model_dump(mode="json")
    later = {"guardrails", "alpha_mismatch", "pool_steps", "focus_bets", "exposures_per_subject"}
    old = {k: v for k, v in new.items() if k not in later}
    rules = rules_of(old | {"alpha_guardrail": 0.025})
    assert rules.guardrails == ("error", "latency")
    assert (rules.alpha_mismatch, rules.alpha_guardrail) == (0.0, 0.025)
    assert (rules.pool_steps, rules.focus_bets, rules.exposures_per_subject) == (False, False, 0)
    before_focus = {k: v for k, v in new.items() if k != "focus_bets"}
    assert rules_of(before_focus) == CanarySettings(focus_bets=False)
    assert rules_of(new) == CanarySettings()


def test_strata_are_named_values() -> None:
    """A tag's other values, and none at all, are one stratum."""
    rules = CanarySettings(stratify_by="metadata.language", strata=("en",))
    assert rules.tag == "language"
    assert [rules.stratum_of(v) for v in ("en", "de", None)] == ["en", "other", "other"]
    assert CanarySettings(stratify_by="endpoint", strata=("/v1/messages",)).tag is None
    assert CanarySettings().tag is None


@pytest.mark.parametrize(
    ("answer", "refused"),
    [
        ("I'm sorry, but I can't help with that.", True),
        ("  As an AI language model I have no opinion.", True),
        ("Take the second door. I cannot say more.", False),
        ("", False),
        ("x" * 500 + " I cannot", False),
    ],
)
def test_refusals_are_told_by_their_beginning(answer: str, refused: bool) -> None:
    """Only the first sentence counts."""
    assert refuses(answer) is refused
