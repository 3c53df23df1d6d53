"""Augmentation and the judge on the real vLLM.

The model has 135 million parameters: marks, counts and accounts are looked at, not its texts. That
the client and the engine understand each other is in tests/contract/test_writer.py.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from core.curation_settings import AugmentationSettings
from curation.augmentation.cap import is_written
from curation.augmentation.products import AUGMENTED
from curation.augmentation.writer import Writer
from curation.augmentation.writing import augment
from curation.judge import agreement, judge_pairs, judge_settings
from curation.judgements import decided_by
from curation.table import DROPS
from tests.unit.candidate_tables import pair, row, table_of

pytestmark = pytest.mark.stack

QUESTIONS = {
    "Where is my parcel with the number 4711? It should have come on Monday.": "It comes today.",
    "How do I change the address [ADDRESS_1] of my account?": "Open the settings of your account.",
    "Can I send the blue shoes back without the box they came in?": "Yes, within 30 days.",
    "Which payment methods do you take in your shop downtown?": "Cards and cash.",
}


@pytest.fixture
def settings(vllm_engine: str) -> AugmentationSettings:
    return AugmentationSettings(
        enabled=True,
        base_url=f"{vllm_engine}/v1",
        methods=("paraphrase", "back_translation", "synthetic", "failures"),
        max_share=0.7,
        examples_per_request=2,
        max_tokens=128,
        concurrent=4,
        timeout_s=300.0,
    )


def test_every_request_becomes_marked_rows_or_reasons(settings: AugmentationSettings) -> None:
    """All methods run; each product is marked, each refusal has its reason, all tokens count."""
    real = table_of(
        *(
            row(prompt, answer, subject=f"s{n}")
            for n, (prompt, answer) in enumerate(QUESTIONS.items())
        )
    )
    failed = real.slice(0, 2)
    rows, account = augment(real, settings, failed=failed)
    told: dict[str, Any] = account.as_dict()
    print(told)
    assert rows.schema == AUGMENTED
    assert account.drops.schema == DROPS
    assert rows.num_rows + account.drops.num_rows > 0
    assert [tally["method"] for tally in told["methods"]] == list(settings.methods)
    assert all(tally["made"] + sum(tally["refused"].values()) > 0 for tally in told["methods"])
    assert all(is_written(rows).to_pylist())
    assert all(rows["needs_review"].to_pylist())
    assert set(rows["interaction_id"].to_pylist()) <= set(real["interaction_id"].to_pylist())
    assert len(set(rows["candidate_id"].to_pylist())) == rows.num_rows <= account.room == 9
    assert account.usage.requests >= 3 + 3 + 2 + 2  # a quarter of the room each; more for ways back
    assert account.usage.unanswered == 0
    assert account.usage.completion_tokens > 0


def test_a_judge_says_of_each_pair_what_can_be_counted(settings: AugmentationSettings) -> None:
    """Each pair has a winner or a reason why not; the agreement holds all that was readable."""
    table = table_of(*(pair(prompt, answer, "No idea.") for prompt, answer in QUESTIONS.items()))
    with Writer(judge_settings(settings)) as judge:
        judged = judge_pairs(table, judge)
        usage = judge.usage
    measured = agreement(judged.judgements, dict(decided_by(table)))
    decided = [one for one in judged.judgements if one.winner]
    print(measured, Counter(judged.drops["reason"].to_pylist()))
    assert usage.requests == 2 * len(QUESTIONS)
    assert len(decided) + judged.drops.num_rows == len(QUESTIONS)
    assert measured.compared + measured.unreadable == len(QUESTIONS)
    assert measured.compared > 0
