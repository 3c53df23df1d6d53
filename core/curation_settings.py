"""The settings of curation, review and augmentation: what may become training data, and by whom."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr

from core.sections import Positive, Section, Share

LanguageCode = Annotated[str, Field(pattern=r"^[a-z]{2,3}$")]  # ISO 639-1, or 639-3 without one

Preferences = Literal["people", "judge", "both"]  # who decided which of two answers is better


class DebiasSettings(Section):
    """What keeps a few loud or odd votes from becoming the model."""

    leave_out_anomalies: bool = True  # votes that feedback.anomalies has marked
    min_votes: Positive = 1  # of different subjects on a cluster of like prompts
    max_weight: float = Field(default=10.0, ge=1.0)  # bound of an inverse exposure weight


class QualitySettings(Section):
    """Which answers are too poor to learn. A share of 0 or a length of none turns a rule off."""

    min_answer_chars: int = Field(default=2, ge=0)  # our choice: "ok" is an answer
    max_message_chars: Positive = 200_000  # a larger one is no chat
    max_repeated_line_share: Share = 0.3  # Gopher's rules (arXiv 2112.11446, table A1)
    max_repeated_ngram_share: Share = 0.2  # in one 2-gram; longer ones in step. Gopher
    min_letter_share: Share = 0.5  # and digits, of visible characters; less is noise. Our choice
    max_odd_word_share: Share = 0.3  # words that nobody can say, such as sdfgh. Our choice
    max_word_chars: Positive = 200  # longer words outside addresses are encoded data. Our choice
    drop_refusals: bool = True
    drop_boilerplate: bool = True
    drop_broken_markup: bool = True


class LanguageSettings(Section):
    """Which languages are learnt; found offline by a small fastText model."""

    allowed: tuple[LanguageCode, ...] = ()  # such as en, de; none: all
    min_confidence: Share = 0.5  # below it the language counts as unknown, and stays
    min_chars: Positive = 20  # shorter texts have no language that can be told. Our choice


class ScreenSettings(Section):
    """Screens for hateful, violent, sexual and biased words, by lexicons that are in the tree."""

    toxicity: bool = True
    bias: bool = True
    extra_words: tuple[str, ...] = ()  # of your own, one word or phrase each
    allowed_words: tuple[str, ...] = ()  # of ours that are usual in your field


class SemanticSettings(Section):
    """Near duplicates by meaning; off by default, since it needs an embedding model."""

    model: Path | None = None  # folder of a sentence-transformer; none: off
    similarity: Share = 0.95  # cosine


class DecontaminationSettings(Section):
    """Nothing that an evaluation asks may be learnt."""

    suites: tuple[Path, ...] = ()  # JSONL or TOML files, or folders of them
    ngram_words: Positive = 13  # GPT-3 (arXiv 2005.14165, appendix C)
    max_ngram_share: Share = 0.5  # of a suite's item, found in a candidate. Our choice
    answers: bool = False  # find reference answers too; a help desk's are what it should learn


class BalanceSettings(Section):
    """How far one length or topic may outweigh the others. 1 turns a rule off."""

    topics: Positive = 50  # clusters that coverage and stratified splits tell apart
    max_topic_share: Share = 1.0
    max_length_share: Share = 1.0  # of one bin of the length histogram (short, medium, long)


class CurationSettings(Section):
    """What may become training data."""

    preferences: Preferences = "both"  # whose pairs are learnt; of both, people's beat a judge's
    near_duplicate_similarity: float = Field(default=0.95, gt=0.0, le=1.0)  # guide: > 95 %
    max_tokens: int = Field(default=1024, ge=16)  # guide: respect the context window
    validation_share: Share = 0.1  # guide: 10-15 % for validation
    test_share: Share = 0.1  # guide: 5-10 % for the final evaluation
    temporal_split: bool = False  # validation and test are the newest. Guide: for time series
    min_examples: int = Field(default=20, ge=1)
    max_share_per_subject: Share = 0.2  # one loud person must not become the model
    debias: DebiasSettings = DebiasSettings()
    quality: QualitySettings = QualitySettings()
    language: LanguageSettings = LanguageSettings()
    screens: ScreenSettings = ScreenSettings()
    semantic: SemanticSettings = SemanticSettings()
    decontamination: DecontaminationSettings = DecontaminationSettings()
    balance: BalanceSettings = BalanceSettings()
    engine: Literal["local", "ray"] = "local"
    workers: Positive | None = None  # processes; none: one for each core
    shard_rows: Positive = 10_000  # candidates in memory of a worker at a time


class ReviewSettings(Section):
    """What people look at before it is learnt, and how many of them."""

    random_share: Share = 0.07  # guide: sample 5-10 % of the dataset for review
    uncertain_share: Share = 0.02  # of candidates, those with the lowest token log-probabilities
    disputed_share: Share = 0.02  # whose votes disagree most
    novel_share: Share = 0.02  # farthest from what the parent dataset holds
    # Candidates whose log-probabilities the engine is asked for at a fill; 0: none. Our choice
    scored: int = Field(default=200, ge=0)
    seed: int = 0  # of the random audit: another one chooses others
    max_open: Positive = 500  # items that wait at once: what people can do
    reviewers: Positive = 1  # of each item, one more at a draw; guide: 3 for evaluation
    calibration_share: Share = 0.05  # of what a reviewer gets, items with a known answer
    lease_s: float = Field(default=900.0, gt=0.0)  # then another reviewer may have the item
    required: bool = False  # a dataset holds only what was approved


class AugmentationSettings(Section):
    """Examples that a model writes; off by default. Guide: prefer real user data."""

    enabled: bool = False
    base_url: str = "http://127.0.0.1:8000/v1"  # any OpenAI-compatible server
    api_key: SecretStr | None = None
    model: str = "base"
    judge_model: str | None = None  # that labels pairs; best another than wrote them. None: model
    methods: tuple[Literal["paraphrase", "back_translation", "synthetic", "failures"], ...] = (
        "paraphrase",
    )
    max_share: float = Field(default=0.1, ge=0.0, lt=1.0)  # of all. Guide: do not over-augment
    pivot_language: str = "French"  # of back-translation; guide's own example
    language: str = "English"  # of texts that are too short to tell
    task: str = "requests like those below, and their best answers"  # what synthetic ones are for
    few_shot: Positive = 3  # real examples that a request for synthetic ones shows
    examples_per_request: Positive = 5
    structured: bool = True  # ask the server to hold the model to a JSON schema
    temperature: float | None = Field(default=0.7, ge=0.0, le=2.0)  # none: the server's own
    max_tokens: Positive = 1024  # of one answer
    concurrent: Positive = 4
    retries: int = Field(default=2, ge=0)  # of a request, after pauses that grow
    timeout_s: float = Field(default=60.0, gt=0.0)
