"""CURATE: the row stages of a build in their order, made from its settings.

Texts are mended and redacted first, so that all that follows sees what would be learnt. What is
cheap and drops much comes early. Knows no candidate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from core.settings import Settings
from curation.chain import Step
from curation.keys import AddKeys
from curation.minhash import Sign
from curation.similarity import GramHashes
from curation.stages.decontaminate import Decontaminate
from curation.stages.encoding import MendEncoding
from curation.stages.language import KeepLanguages
from curation.stages.personal import RedactPersonal
from curation.stages.praise import AddPraise
from curation.stages.quality import CheckQuality
from curation.stages.screens import ScreenWords
from curation.stages.structure import CheckStructure
from curation.stages.tokens import CountTokens
from curation.stages.topics import AssignTopics, Topics
from curation.stages.verdicts import HeedReviews, Verdict
from curation.suites import read_suites

ROW_STAGES = (
    "review",
    "encoding",
    "structure",
    "personal data",
    "tokens",
    "language",
    "quality",
    "screens",
    "evaluations",
    "praise",
)
TABLE_STAGES = (
    "conflicts",
    "labels",
    "preferences",
    "duplicates",
    "near duplicates",
    "meaning",
    "votes",
    "cap",
    "balance",
    "written",
    "split",
)
STAGES = ("select", *ROW_STAGES, *TABLE_STAGES, "write")


@dataclass(frozen=True)
class Learnt:
    """What is learnt from a sample of the candidates, before their texts are gone through."""

    common: GramHashes  # of 5-grams that are no one prompt's own
    topics: Topics


def row_steps(
    settings: Settings, application: str, learnt: Learnt, verdicts: Mapping[str, Verdict]
) -> list[Step]:
    """Return the steps of a build; `verdicts` of reviewers, by candidate.

    Raises: DataError when an evaluation suite cannot be read.
    """
    rules = settings.curation
    known = settings.applications.get(application)
    patterns = dict(known.redaction_patterns) if known else {}
    suites = read_suites(rules.decontamination.suites)
    sign = Sign(rules.near_duplicate_similarity, learnt.common.tobytes())
    return [
        Step("review", HeedReviews(verdicts, settings.review.required)),
        Step("encoding", MendEncoding(), "every"),
        Step("structure", CheckStructure(rules.quality.max_message_chars)),
        Step("personal data", RedactPersonal(patterns), "every"),
        Step("tokens", CountTokens(settings.engine.model, rules.max_tokens)),
        Step("language", KeepLanguages(rules.language), "taught"),
        Step("quality", CheckQuality(rules.quality), "taught"),
        Step("screens", ScreenWords(rules.screens), "taught"),
        Step("evaluations", Decontaminate(suites, rules.decontamination)),
        Step("topics", AssignTopics(learnt.topics), is_told=False),
        Step("keys", AddKeys(), "every", is_told=False),
        Step("signatures", sign, "every", is_told=False),
        Step("praise", AddPraise()),
    ]
