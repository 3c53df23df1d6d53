"""All settings, read once, frozen, from `ratchet.toml` and `RATCHET_…` variables.

The sole reader of the environment. A later source wins: defaults, then the TOML file, then
environment variables (`RATCHET_ENGINE__PORT=8200`). Every default names its source. Built
once by the composition root and handed on as an argument.
"""

from __future__ import annotations

import os
import re
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from core.alert_settings import AlertSettings
from core.canary_settings import CanarySettings as CanarySettings
from core.console_settings import ConsoleSettings
from core.cost_settings import CostSettings
from core.curation_settings import AugmentationSettings, CurationSettings, ReviewSettings
from core.drift_settings import DriftSettings
from core.errors import SettingsError
from core.gate_settings import GateSettings
from core.launcher_settings import LaunchersSettings
from core.monitoring_settings import MonitoringSettings
from core.patterns import check_patterns
from core.policy_settings import CooldownSettings
from core.registry_settings import RegistrySettings
from core.scheduler_settings import SchedulerSettings
from core.sections import LOOPBACK_HOSTS, Alpha, Port, Positive, Section, Share
from core.tracking_settings import TrackersSettings

DEFAULT_FILE = Path("ratchet.toml")
FILE_VARIABLE = "RATCHET_SETTINGS"

RedactionMode = Literal["full", "redacted", "metadata_only"]


class ApplicationSettings(Section):
    """One application that may call the gateway."""

    api_key: SecretStr
    redaction: RedactionMode = "redacted"  # DESIGN: what is written holds no personal data
    allowed_origins: tuple[str, ...] = ()  # CORS, beside gateway.allowed_origins
    requests_per_minute: Positive | None = None  # per key; none: no limit
    tokens_per_minute: Positive | None = None  # of prompts and answers
    concurrent: Positive | None = None  # requests of a key at once
    max_body_bytes: Positive | None = None  # none: gateway.max_body_bytes
    request_timeout_s: float | None = Field(default=None, gt=0.0)  # none: the gateway's
    adapter: str | None = None  # answers instead of what is live; `base` is the base model
    canary: bool = True  # false: keeps it out of rollouts and shadow
    rollouts: dict[str, Any] = Field(default={})  # what differs for it from the section `canary`
    redaction_patterns: dict[str, str] = Field(
        default={}
    )  # name: regular expression; becomes [NAME_1]
    keep_days: float | None = Field(default=None, gt=0.0)  # interactions; none: for ever

    @field_validator("redaction_patterns")
    @classmethod
    def _usable(cls, patterns: dict[str, str]) -> dict[str, str]:
        check_patterns(patterns)
        return patterns


class EngineSettings(Section):
    """How vLLM is started and found."""

    model: Path = Path("models/smollm2-135m-instruct")
    host: str = "127.0.0.1"  # vLLM's adapter routes ignore --api-key: never a public address
    port: Port = 8100
    max_adapters: int = Field(default=4, ge=1)  # loaded at once: live, canary, and room to swap
    max_lora_rank: int = Field(default=16, ge=1)  # fine-tuning guide, LoRA: start with 16
    max_model_len: int = Field(default=2048, ge=64)
    max_concurrent: int = Field(default=16, ge=1)
    device: Literal["auto", "cpu", "gpu"] = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    start_timeout_s: float = 600.0
    stop_timeout_s: float = 20.0
    reconcile_every_s: float = 1.0
    extra_arguments: tuple[str, ...] = ()  # passed to vLLM as they are
    replicas: tuple[str, ...] = ()  # URLs of engines that others run; empty: the one started here
    kubernetes_service: str | None = None  # or: namespace/service:port, its ready pods
    kubernetes_url: str = "https://kubernetes.default.svc"  # what every pod can reach
    kubernetes_account: Path = Path("/var/run/secrets/kubernetes.io/serviceaccount")
    discover_every_s: float = Field(default=5.0, gt=0.0)  # within a pod's usual 30 s of grace
    check_every_s: float = Field(default=2.0, gt=0.0)  # health of each replica
    eject_after: int = Field(default=3, ge=1)  # failures in a row; Kubernetes' failureThreshold
    longest_ejection_s: float = 30.0  # between two looks at an engine that stays away
    load_factor: float = Field(default=1.25, gt=1.0)  # Mirrokni et al. 2017, arXiv:1608.01350
    drain_s: float = Field(default=30.0, ge=0.0)  # as long as the gateway lets answers end
    breaker_errors: int = Field(default=5, ge=1)  # in a row; as canary.breaker_errors
    breaker_pause_s: float = 10.0  # our choice: then one request tries the adapter again

    @property
    def url(self) -> str:
        """The base URL of the engine that is started here, without a trailing slash."""
        return f"http://{self.host}:{self.port}"

    @property
    def is_external(self) -> bool:
        """Whether somebody else runs the engines."""
        return bool(self.replicas or self.kubernetes_service)

    @field_validator("replicas")
    @classmethod
    def _urls(cls, replicas: tuple[str, ...]) -> tuple[str, ...]:
        for url in replicas:
            if not url.startswith(("http://", "https://")):
                raise ValueError(f"{url} is no URL: write http://host:port")
        return tuple(dict.fromkeys(url.rstrip("/") for url in replicas))

    @field_validator("kubernetes_service")
    @classmethod
    def _service(cls, service: str | None) -> str | None:
        if service is not None and re.fullmatch(r"[^/:]+/[^/:]+:[^/:]+", service) is None:
            raise ValueError(
                f"{service} must be namespace/service:port, the port by name or number"
            )
        return service


class GatewaySettings(Section):
    """The public front."""

    host: str = "127.0.0.1"
    port: Port = 8000
    request_timeout_s: float = 120.0
    max_body_bytes: int = 1_000_000
    route_refresh_s: float = 0.5  # a rollback reaches traffic within this time
    receipt_ttl_s: float = 30 * 86_400.0  # people rate what they read last month
    allowed_origins: tuple[str, ...] = ()  # CORS, for feedback straight from a browser
    backlog: int = 2048
    metrics: Literal["private", "everyone", "off"] = "private"  # who may GET /metrics: no key asked
    shared_limits: bool = False  # several gateways draw from one budget in PostgreSQL
    chat: bool | None = None  # the page at /chat; not set: only where `host` is this machine's own

    @property
    def url(self) -> str:
        """The gateway's base URL, without a trailing slash."""
        return f"http://{self.host}:{self.port}"

    @property
    def shows_chat(self) -> bool:
        """Whether `/chat` is served."""
        return self.host in LOOPBACK_HOSTS if self.chat is None else self.chat


class PriceSettings(Section):
    """What answers cost, by the name of who gives them: an adapter, `base`, or `default`."""

    prompt_per_million: float = Field(default=0.0, ge=0.0)  # tokens; any currency, always the same
    completion_per_million: float = Field(default=0.0, ge=0.0)  # tokens
    per_second: float = Field(default=0.0, ge=0.0)  # own hardware: its price / answers at once


class TraceSettings(Section):
    """Traces of requests, sent to an OpenTelemetry collector."""

    endpoint: str | None = None  # OTLP over HTTP: `http://127.0.0.1:4318`; without one, no traces
    # 0.15 ms of CPU for each traced request, measured: of a tenth of them nobody notices it
    sample_share: Share = 0.1  # of requests that come without a decision in `traceparent`

    @field_validator("endpoint")
    @classmethod
    def _http(cls, endpoint: str | None) -> str | None:
        if endpoint is not None and not endpoint.startswith(("http://", "https://")):
            raise ValueError(
                f"must be a URL like http://127.0.0.1:4318, or be left out; got {endpoint!r}"
            )
        return endpoint and endpoint.rstrip("/")


class KafkaSettings(Section):
    """The Kafka cluster that the relay fills and ingest reads; no servers: the spools are the log.

    Whatever kafka-python takes beyond these goes into `options`, by its own names.
    """

    servers: tuple[str, ...] = ()  # host:port
    partitions: Positive = 6  # of each topic, when it is made: as many ingests may work at once
    replication: int = Field(default=-1, ge=-1)  # -1: the cluster's own default
    retention_days: float = Field(default=30.0, gt=0.0)  # as long as a receipt is valid
    compact_after_days: float = Field(default=7.0, gt=0.0)  # then a tombstone erases
    max_in_flight: int = Field(default=5, ge=1, le=5)  # what an idempotent producer may; KIP-98
    linger_ms: int = Field(default=5, ge=0)
    relay_batch: Positive = 500  # records handed to the client at a time: what is in memory
    relay_every_s: float = Field(default=0.1, gt=0.0)  # between two looks at idle spools
    group: str = "ratchet-ingest"
    session_timeout_ms: Positive = 45_000  # kafka-python's default. Source: KIP-735
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: str | None = None
    sasl_username: str | None = None
    sasl_password: SecretStr | None = None
    ssl_cafile: Path | None = None
    ssl_certfile: Path | None = None
    ssl_keyfile: Path | None = None
    options: dict[str, str | int | float | bool] = Field(default={})


class LogSettings(Section):
    """The event log and its spools."""

    commit_every_ms: float = Field(default=5.0, ge=0.0)  # DESIGN: group commit waits at most 5 ms
    mode: Literal["durable", "async"] = "durable"
    max_bytes: int = Field(default=4 << 30, ge=1 << 20)  # of each process's spool
    # then a spool begins its next file; one is read through in 0.2 s at a start (decision 0021)
    segment_bytes: int = Field(default=64 << 20, ge=1 << 18)
    # or so late, if there is something in it; our choice: 24 files a day of an idle process
    segment_s: float = Field(default=3_600.0, gt=0.0)
    # applied records, for `spool replay`; Kafka's own log.retention.hours
    keep_s: float = Field(default=7 * 86_400.0, ge=0.0)
    full_policy: Literal["refuse", "serve_unlogged"] = "refuse"
    metrics_host: str = "127.0.0.1"
    relay_metrics_port: Port | None = None  # for Prometheus; none: not served
    ingest_metrics_port: Port | None = None
    # records of a partition in one transaction. Measured: docs/experiments.md, "Event log"
    ingest_batch: int = Field(default=2_000, ge=1)
    ingest_every_s: float = 0.25
    kafka: KafkaSettings = KafkaSettings()


class FeedbackSettings(Section):
    """How much feedback is taken from whom, and what looks odd about it."""

    per_subject_per_minute: Positive | None = 60  # our choice: a person reads before they rate
    per_address_per_minute: Positive | None = 600  # an office behind one address
    trusted_proxies: tuple[str, ...] = ()  # networks whose X-Forwarded-For is believed
    max_batch: Positive = 100  # facts in one call
    remembered: Positive = 50_000  # client ids and votes' times that a gateway knows, some 26 MB
    window_s: float = Field(default=3_600.0, gt=0.0)  # within which marks look at votes
    burst_votes: Positive = 20  # of one subject within `burst_s`: faster than reading. Our choice
    burst_s: float = Field(default=60.0, gt=0.0)
    everything_votes: Positive = 30  # votes of one subject in the window, all of one value
    mark_every_s: float = Field(default=60.0, gt=0.0)

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        for text in proxies:
            try:
                ip_network(text)
            except ValueError as error:
                raise ValueError(f"{text} is no network, such as 10.0.0.0/8: {error}") from error
        return proxies


class ErasureSettings(Section):
    """What follows an end user's erasure."""

    # of adapters that were trained on them: only mark; take them out of traffic; or mark, and file
    # a training without them that replaces the live one
    adapters: Literal["mark", "retire", "retrain"] = "retrain"


class RetrainSettings(Section):
    """When and how to train. Source: fine-tuning guide, "When to Retrain"."""

    recipe: str = "sft-lora"
    launcher: Literal["local", "kubernetes", "slurm", "ray"] = "local"  # see [launchers]
    drop_trigger: float = Field(default=0.05, gt=0.0, lt=1.0)  # metric down over 5 % from baseline
    growth_trigger: Share = 0.10  # 10-20 % new approved examples: here it may be enough
    growth_must: Share = 0.20  # and here it is, however few they are
    growth_min_examples: Positive = 8  # guide, Batch Size: effective batch of 8-128
    every_days: float | None = Field(default=None, gt=0.0)  # guide: monthly or quarterly; none: off
    incremental_max_share: Share = 0.30  # more new data than that: full retraining
    # guide: full after a major domain shift, without a number
    domain_shift_share: Share = 0.50  # of traffic in new subjects; more is major. Our choice
    max_increments: int = Field(default=5, ge=0)  # then in full, so that errors do not add up
    retention_step: Share = 0.98  # of the base's retention score, kept by each increment; our goal
    retention_chain: Share = 0.95  # and by all since the last full one; guide: 5 % is degradation
    cooldown_s: float = Field(default=3_600.0, ge=0.0)  # our choice; of triggers without their own
    cooldowns_s: CooldownSettings = CooldownSettings()
    rating_window_days: float = Field(default=7.0, gt=0.0)  # our choice: all days of a week
    rating_min: Positive = 30  # in each window, one for each end user; our choice
    # chance, at one look, that a fall is noise. Measured: docs/experiments.md, "When to retrain"
    fall_alpha: Alpha = 0.001
    watched_score: str | None = None  # `score` feedback of that name is an evaluation metric, 0-1
    automatic: bool = False  # the scheduler trains, and starts the canary, when the policy says so
    trackers: TrackersSettings = TrackersSettings()


class Settings(BaseSettings):
    """Everything that can be set, frozen."""

    model_config = SettingsConfigDict(
        env_prefix="RATCHET_", env_nested_delimiter="__", frozen=True, extra="forbid"
    )

    data_dir: Path = Path(".ratchet")  # log, store, datasets, runs, adapters, reports
    store_url: str | None = None  # default: SQLite in data_dir
    log_format: Literal["console", "json"] = "console"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    secrets: tuple[SecretStr, ...] = ()  # receipt keys, newest first; default: a file in data_dir
    subject_secret: SecretStr | None = None  # hashes end users, never changes; default: a file too
    applications: dict[str, ApplicationSettings] = {}
    engine: EngineSettings = EngineSettings()
    gateway: GatewaySettings = GatewaySettings()
    log: LogSettings = LogSettings()
    feedback: FeedbackSettings = FeedbackSettings()
    erasure: ErasureSettings = ErasureSettings()
    console: ConsoleSettings = ConsoleSettings()
    curation: CurationSettings = CurationSettings()
    review: ReviewSettings = ReviewSettings()
    augmentation: AugmentationSettings = AugmentationSettings()
    retrain: RetrainSettings = RetrainSettings()
    registry: RegistrySettings = RegistrySettings()
    costs: CostSettings = CostSettings()
    gate: GateSettings = GateSettings()
    launchers: LaunchersSettings = LaunchersSettings()
    canary: CanarySettings = CanarySettings()
    monitoring: MonitoringSettings = MonitoringSettings()
    scheduler: SchedulerSettings = SchedulerSettings()
    alerts: AlertSettings = AlertSettings()
    drift: DriftSettings = DriftSettings()
    prices: dict[str, PriceSettings] = {}
    traces: TraceSettings = TraceSettings()

    @model_validator(mode="after")
    def _rules(self) -> Settings:
        for application in self.applications:
            try:
                self.canary_of(application)
            except ValidationError as error:
                told = "; ".join(f"{issue['loc']}: {issue['msg']}" for issue in error.errors())
                raise ValueError(f"applications.{application}.rollouts: {told}") from error
        return self

    def canary_of(self, application: str) -> CanarySettings:
        """The rules of an application's rollouts: the section `canary`, and what differs."""
        own = self.applications.get(application)
        return CanarySettings.model_validate(
            self.canary.model_dump() | (own.rollouts if own is not None else {})
        )

    @property
    def store_address(self) -> str:
        """The store's SQLAlchemy URL."""
        return self.store_url or f"sqlite:///{self.data_dir.resolve() / 'store.db'}"

    def request_timeout_s(self, application: str) -> float:
        """How long an answer for `application` may take."""
        own = self.applications[application].request_timeout_s
        return self.gateway.request_timeout_s if own is None else own

    @property
    def max_body_bytes(self) -> int:
        """The largest body that any application may send."""
        own = [app.max_body_bytes or 0 for app in self.applications.values()]
        return max(self.gateway.max_body_bytes, *own, 0)

    @property
    def spool_dir(self) -> Path:
        """The folder of the processes' spools, which without Kafka are the event log."""
        return self.data_dir / "spool"

    def folder(
        self,
        name: Literal[
            "datasets", "runs", "searches", "adapters", "evaluations", "monitoring", "reports"
        ],
    ) -> Path:
        """Return (and make) the folder in which a stage keeps its files."""
        path = (self.data_dir / name).resolve()
        path.mkdir(parents=True, exist_ok=True)
        return path

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources: arguments, environment, TOML file."""
        file = os.environ.get(FILE_VARIABLE, str(DEFAULT_FILE))
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, Path(file))


def load_settings(file: Path | None = None) -> Settings:
    """Return the settings from `file` (default: `$RATCHET_SETTINGS`, then `ratchet.toml`).

    Raises: SettingsError that names each wrong value.
    """
    if file is not None:
        os.environ[FILE_VARIABLE] = str(file)  # children started from here read the same file
    named = os.environ.get(FILE_VARIABLE)
    if named is not None and not Path(named).is_file():
        raise SettingsError(f"settings file {named} does not exist: name another one or create it")
    try:
        return Settings()
    except ValidationError as error:
        faults = (
            (".".join(map(str, issue["loc"])), issue["msg"], issue["input"])
            for issue in error.errors()
        )
        told = "; ".join(f"{name}: {words} (got {value!r})" for name, words, value in faults)
        raise SettingsError(f"wrong settings: {told}") from error
    except ValueError as error:  # the TOML itself
        raise SettingsError(f"{named or DEFAULT_FILE} is not valid TOML: {error}") from error
