"""The store's tables: the data by which stages of the loop meet.

Every stage reads and writes these rows and nothing else of another stage. Times are UTC;
text is redacted; JSON columns hold plain values. One set of tables serves SQLite and
PostgreSQL. Knows no logic: queries live with the stage that asks them.

    Interaction ← Feedback          ingest writes, curation and monitoring read
    DatasetVersion ← DatasetMember  curation writes, retrain reads
    Run → Adapter                   retrain writes, loop moves the adapter's status
    Application, Rollout            loop writes, serving reads
    EngineReplica, AdapterReplica   serving writes, loop reads
    VerdictRecord                   monitoring's numbers, stored by loop
    ApiKey                          people make them, the gateway reads them
    LimitBucket                     gateways share what a key may still use
    DeadLetter, Erasure             ingest and loop write, people read
    TrainingRequest                 people and erasures file them, retrain reads
    ReviewItem ← ReviewLease, Review  curation fills, people decide, curation reads
    JudgedPair                      an AI judge's word on two answers, curation's own
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import JSON, Column, DateTime, Index, UniqueConstraint
from sqlmodel import Field, SQLModel

from core.clock import utc_now


def _utc_column(*, nullable: bool = False, index: bool = False) -> Any:
    return Column(DateTime(timezone=True), nullable=nullable, index=index)


def _json_column() -> Any:
    return Column(JSON, nullable=False)


class Application(SQLModel, table=True):
    """An owner of interactions, adapters and rollouts; `live_adapter` None means the base model."""

    name: str = Field(primary_key=True)
    live_adapter: str | None = None
    updated_at: datetime = Field(default_factory=utc_now, sa_column=_utc_column())


class ApiKey(SQLModel, table=True):
    """A key that calls for an application; of its secret only the SHA-256 is kept."""

    id: str = Field(primary_key=True)
    application: str = Field(index=True)
    name: str = ""  # for people: where it is used
    digest: str = Field(unique=True)
    scopes: list[str] = Field(default_factory=list, sa_column=_json_column())
    requests_per_minute: int | None = None  # None: what the settings say of the application
    tokens_per_minute: int | None = None
    concurrent: int | None = None
    created_at: datetime = Field(default_factory=utc_now, sa_column=_utc_column())
    expires_at: datetime | None = Field(default=None, sa_column=_utc_column(nullable=True))
    revoked_at: datetime | None = Field(default=None, sa_column=_utc_column(nullable=True))
    replaced_by: str | None = None  # the key that a rotation made of it


class LimitBucket(SQLModel, table=True):
    """A token bucket that several gateways draw from; its clock is the database's."""

    name: str = Field(primary_key=True)  # key id and what is counted
    level: float  # what was left at `refilled_at`
    refilled_at: datetime = Field(default_factory=utc_now, sa_column=_utc_column())


class Interaction(SQLModel, table=True):
    """One request and its answer."""

    __table_args__: ClassVar[Any] = (
        # monitoring counts the exposures of one rollout; curation walks one application in time
        Index("ix_interaction_rollout", "rollout_id", "step", "arm"),
        Index("ix_interaction_application_time", "application", "started_at"),
        Index("ix_interaction_subject", "application", "subject"),  # erasure finds a person
    )

    id: str = Field(primary_key=True)
    application: str
    subject: str | None = None
    adapter: str | None = None
    arm: str = "baseline"
    rollout_id: str | None = None
    step: int | None = None
    endpoint: str
    requested_model: str
    messages: list[dict[str, Any]] = Field(default_factory=list, sa_column=_json_column())
    answer: str = ""
    status: str = "ok"
    error: str | None = None
    finish_reason: str | None = None
    stream: bool = False
    parameters: dict[str, Any] = Field(default_factory=dict, sa_column=_json_column())
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    latency_s: float
    ttft_s: float | None = None
    itl_s: float | None = None
    cost: float | None = None
    started_at: datetime = Field(sa_column=_utc_column())
    event_id: str = Field(unique=True)
    shadow_of: str | None = None  # the interaction that this unseen answer is paired with
    redactions: dict[str, str] = Field(default_factory=dict, sa_column=_json_column())
    extra: dict[str, Any] = Field(default_factory=dict, sa_column=_json_column())  # newer fields
    refused: bool | None = None  # the answer begins by refusing; None: not looked at
    stratum: str | None = None  # of the application's rollouts: see canary.stratify_by


class Feedback(SQLModel, table=True):
    """One fact about an interaction; `effective` marks the last one of a subject and kind.

    Of scores and flags, and of a preference, that is the last one of each name or other answer.
    """

    __table_args__: ClassVar[Any] = (
        UniqueConstraint("interaction_id", "client_id"),
        Index("ix_feedback_interaction", "interaction_id", "kind", "effective"),
        Index("ix_feedback_subject", "application", "subject"),
        Index("ix_feedback_time", "given_at"),  # anomalies look at the newest
    )

    event_id: str = Field(primary_key=True)
    client_id: str
    interaction_id: str  # may arrive before its interaction: no foreign key
    application: str
    subject: str | None = None
    kind: str
    thumbs: bool | None = None
    retracted: bool = False  # a retraction; never effective
    rating: int | None = None
    name: str | None = None
    number: float | None = None
    text: str | None = None
    other: str | None = None
    effective: bool = True
    anomaly: str | None = None  # burst | rates_everything | contradicts: curation may leave it out
    given_at: datetime = Field(sa_column=_utc_column())
    redactions: dict[str, str] = Field(default_factory=dict, sa_column=_json_column())
    extra: dict[str, Any] = Field(default_factory=dict, sa_column=_json_column())  # newer fields


class LogOffset(SQLModel, table=True):
    """How far a consumer has applied a partition; written with the rows it applied."""

    consumer: str = Field(primary_key=True)
    topic: str = Field(primary_key=True)
    partition: str = Field(primary_key=True)
    position: int


class DeadLetter(SQLModel, table=True):
    """A record that could not be applied, whole, until somebody replays it."""

    id: str = Field(primary_key=True)
    topic: str
    partition: str
    offset: int
    key: str
    value: bytes
    error: str
    buried_at: datetime = Field(default_factory=utc_now, sa_column=_utc_column())
    replayed_at: datetime | None = Field(default=None, sa_column=_utc_column(nullable=True))


class Erasure(SQLModel, table=True):
    """The proof that a subject was erased, and what keeps their older events from coming back.

    `subject_digest` is the SHA-256 of the subject's hash: it tells whether an event is theirs, and
    cannot be walked back.
    """

    id: str = Field(primary_key=True)
    application: str
    subject_digest: str = Field(index=True)
    subject: str | None = None  # its hash, until it is done
    requested_by: str
    requested_at: datetime = Field(sa_column=_utc_column())  # what is older is theirs and goes
    state: str = "requested"  # requested | done | failed
    counts: dict[str, int] = Field(default_factory=dict, sa_column=_json_column())
    datasets: list[str] = Field(default_factory=list, sa_column=_json_column())
    adapters: list[str] = Field(default_factory=list, sa_column=_json_column())  # tainted by it
    policy: str = ""  # what was done about the adapters
    error: str | None = None
    finished_at: datetime | None = Field(default=None, sa_column=_utc_column(nullable=True))


class TrainingRequest(SQLModel, table=True):
    """A wish for a training that the policy takes up at its next look."""

    id: str = Field(primary_key=True)
    application: str = Field(index=True)
    reason: str
    requested_by: str
    full: bool = False  # from the base model, because the live adapter must not be continued
    requested_at: datetime = Field(default_factory=utc_now, sa_column=_utc_column())
    run_id: str | None = None  # the run that took it up


class DatasetVersion(SQLModel, table=True):
    """An immutable, hashed set of examples in a folder."""

    id: str = Field(primary_key=True)  # application--dN
    application: str = Field(index=True)
    parent: str | None = None
    path: str
    content_hash: str
    train_rows: int
    validation_rows: int
    test_rows: int
    new_rows: int  # examples that the parent did not have
    manifest: dict[str, Any] = Field(default_factory=dict, sa_column=_json_column())
    created_at: datetime = Field(default_factory=utc_now, sa_column=_utc_column())


class DatasetMember(SQLModel, table=True):
    """Lineage: this interaction of this subject is in that dataset version."""

    dataset_id: str = Field(primary_key=True)
    interaction_id: str = Field(primary_key=True, index=True)
    subject: str | None = Field(default=None, index=True)
    split: str


class Run(SQLModel, table=True):
    """One training: why it started, on what, how it went."""

    id: str = Field(primary_key=True)
    application: str = Field(index=True)
    dataset_id: str
    recipe: str
    mode: str  # incremental | full
    parent_adapter: str | None = None
    reason: str
    status: str  # queued | running | finished | failed | cancelled
    folder: str
    launcher: str = "local"  # who runs its process: see retrain.launchers
    hyperparameters: dict[str, Any] = Field(default_factory=dict, sa_column=_json_column())
    metrics: dict[str, Any] = Field(default_factory=dict, sa_column=_json_column())
    # seed, versions, device, cost, trackers, report: for people, of whatever launcher and recipe
    details: dict[str, Any] = Field(default_factory=dict, sa_column=_json_column())
    error: str | None = None
    started_at: datetime = Field(default_factory=utc_now, sa_column=_utc_column())
    finished_at: datetime | None = Field(default=None, sa_column=_utc_column(nullable=True))


class Adapter(SQLModel, table=True):
    """One immutable version, `application--vN`, stored by content hash; most are LoRAs."""

    name: str = Field(primary_key=True)
    application: str = Field(index=True)
    base_model: str
    path: str = Field(unique=True)
    content_hash: str
    run_id: str
    dataset_id: str
    parent_adapter: str | None = None
    status: str = "candidate"  # candidate gated canary live retired rolled_back inconclusive
    rank: int  # of a LoRA; 0 of other methods
    method: str = "lora"  # of the recipe: lora, dora, ia3, …, full
    servable: bool = True  # by hot-loading; what is not can be merged into a new base model
    manifest: dict[str, Any] = Field(default_factory=dict, sa_column=_json_column())  # signed
    gate: dict[str, Any] = Field(default_factory=dict, sa_column=_json_column())
    override_by: str | None = None  # the operator who sent it past a failed gate
    override_reason: str | None = None
    model_metadata: dict[str, Any] = Field(default_factory=dict, sa_column=_json_column())
    created_at: datetime = Field(default_factory=utc_now, sa_column=_utc_column())
    created_by: str
    tainted_at: datetime | None = Field(default=None, sa_column=_utc_column(nullable=True))
    tainted_by: list[str] = Field(default_factory=list, sa_column=_json_column())  # erasure ids


class Rollout(SQLModel, table=True):
    """The path of an adapter to traffic: the desired state that serving makes true."""

    __table_args__: ClassVar[Any] = (Index("ix_rollout_application", "application", "state"),)

    id: str = Field(primary_key=True)
    application: str
    baseline_adapter: str | None = None  # None: the base model
    canary_adapter: str
    state: str  # shadow canary watch live rolled_back inconclusive paused
    step: int = 0  # index into the settings' steps; the stratum of exposures
    share: float = 0.0  # of subjects in the canary arm, 0-1
    salt: str
    settings: dict[str, Any] = Field(default_factory=dict, sa_column=_json_column())
    decided_by: str = "conductor"
    reason: str = ""
    created_at: datetime = Field(default_factory=utc_now, sa_column=_utc_column())
    state_since: datetime = Field(default_factory=utc_now, sa_column=_utc_column())
    step_since: datetime = Field(default_factory=utc_now, sa_column=_utc_column())
    finished_at: datetime | None = Field(default=None, sa_column=_utc_column(nullable=True))


class VerdictRecord(SQLModel, table=True):
    """A verdict with the counts and settings from which anyone can recompute it."""

    id: str = Field(primary_key=True)
    rollout_id: str = Field(index=True)
    state: str
    step: int
    share: float
    decision: str  # promote | hold | roll_back
    reason: str
    counts: dict[str, Any] = Field(default_factory=dict, sa_column=_json_column())
    numbers: dict[str, Any] = Field(default_factory=dict, sa_column=_json_column())
    settings_hash: str
    created_at: datetime = Field(default_factory=utc_now, sa_column=_utc_column())


class AdapterReplica(SQLModel, table=True):
    """What one engine says of one adapter; a replica takes part in an arm only when `ready`."""

    adapter: str = Field(primary_key=True)
    engine: str = Field(primary_key=True)  # the engine's base URL
    state: str  # loading | ready | refused | failed | draining
    error: str | None = None
    attempts: int = 0
    checked_at: datetime = Field(default_factory=utc_now, sa_column=_utc_column())


class EngineReplica(SQLModel, table=True):
    """One engine that is kept in order; a rollout's step waits for those that are `up`."""

    engine: str = Field(primary_key=True)  # its base URL
    state: str  # up | down
    checked_at: datetime = Field(default_factory=utc_now, sa_column=_utc_column())


class ReviewItem(SQLModel, table=True):
    """A candidate before people; or two adapters' answers, or a question with a known answer."""

    __table_args__: ClassVar[Any] = (
        UniqueConstraint("application", "candidate_id"),  # filling twice adds nothing
        Index("ix_reviewitem_queue", "application", "state", "priority"),
        Index("ix_reviewitem_interaction", "interaction_id"),  # erasure finds a person
        Index("ix_reviewitem_subject", "application", "subject"),
    )

    id: str = Field(primary_key=True)
    application: str
    candidate_id: str
    interaction_id: str | None = None  # None of a calibration item
    kind: str  # demonstration | pair | comparison | calibration
    subject: str | None = None
    messages: list[dict[str, Any]] = Field(default_factory=list, sa_column=_json_column())
    rejected: str | None = None  # of a pair: the answer that lost
    # of what a model wrote: all interactions that it was made from
    seeds: list[str] = Field(default_factory=list, sa_column=_json_column())
    adapter_a: str | None = None  # of a comparison; None: the base model
    adapter_b: str | None = None
    answer_a: str | None = None
    answer_b: str | None = None
    expected: str | None = None  # of a calibration item: approve | reject
    sampled_because: list[str] = Field(default_factory=list, sa_column=_json_column())
    priority: float = 0.0  # higher is given out first
    needed: int = 1  # reviewers; 0: all of them
    state: str = "open"  # open | done | withdrawn
    verdict: str | None = None  # approved | rejected | corrected, once it is done
    corrected: str | None = None  # the answer to learn instead
    created_at: datetime = Field(default_factory=utc_now, sa_column=_utc_column())
    closed_at: datetime | None = Field(default=None, sa_column=_utc_column(nullable=True))


class ReviewLease(SQLModel, table=True):
    """One of an item's slots in one reviewer's hands; a decided one is theirs for good."""

    __table_args__: ClassVar[Any] = (
        UniqueConstraint("item_id", "reviewer"),  # two reviewers are two people
        Index("ix_reviewlease_reviewer", "reviewer"),
    )

    item_id: str = Field(primary_key=True)
    slot: int = Field(primary_key=True)  # nobody else can hold it
    reviewer: str
    token: str = Field(unique=True)
    leased_at: datetime = Field(default_factory=utc_now, sa_column=_utc_column())
    expires_at: datetime = Field(sa_column=_utc_column())
    decided_at: datetime | None = Field(default=None, sa_column=_utc_column(nullable=True))


class Review(SQLModel, table=True):
    """What one reviewer said of one item."""

    __table_args__: ClassVar[Any] = (UniqueConstraint("item_id", "reviewer"),)

    id: str = Field(primary_key=True)
    application: str = Field(index=True)
    item_id: str
    reviewer: str
    token: str = Field(unique=True)  # of the lease: saying it twice is saying it once
    decision: str  # approve | reject | correct | skip | prefer
    preferred: str | None = None  # of a comparison: a | b | tie
    position: str | None = None  # of a comparison: whose answer was shown first, ab | ba
    rubric: dict[str, int] = Field(default_factory=dict, sa_column=_json_column())
    reason: str = ""
    text: str | None = None  # the corrected answer
    given_at: datetime = Field(default_factory=utc_now, sa_column=_utc_column())


class JudgedPair(SQLModel, table=True):
    """What an AI judge said of two answers to one prompt, asked in both orders; it holds no text.

    Answer a is the interaction's, b that of the other one, or a correction of the interaction's.
    """

    __table_args__: ClassVar[Any] = (
        UniqueConstraint("application", "interaction_id", "other", "judge", "rubric"),
        Index("ix_judgedpair_interaction", "interaction_id"),  # erasure finds a person by both
        Index("ix_judgedpair_other", "other"),
    )

    id: str = Field(primary_key=True)
    application: str
    interaction_id: str  # of two interactions the one with the lower id, which is the older one
    other: str  # the other interaction, or the hash of a correction's text
    judge: str  # the model
    rubric: str  # SHA-256 of the question and of the form of its answer
    a_first: str | None  # what it said with a in the first place: a | b | tie; None: unreadable
    b_first: str | None  # and with b there
    people: str | None = None  # what a person had said by then: a | b
    judged_at: datetime = Field(default_factory=utc_now, sa_column=_utc_column())
