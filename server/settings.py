"""The settings: everything that the environment decides, read once and frozen."""

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, PrivateAttr, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from data.errors import ConfigurationError
from data.filesystem.address import is_remote, seen_from
from data.log.identity import read_identity
from data.project import DEFAULT, PROJECT, PROJECT_FILE, PROJECT_NAME, Project, open_project
from events.kafka.access import Access, Mechanism
from features.state.online.access import RedisAccess
from model.interventions import InterventionRule, parse_rules
from model.registry.local_database import database_uri
from server.api_keys import ApiKey, parse_keys
from server.kafka_names import KafkaNames, kafka_names_of
from server.oidc import Oidc, parse_roles
from server.setting_types import (
    PATHS,
    File,
    Host,
    Hosts,
    Keys,
    Memory,
    Origins,
    Port,
    PortOrNone,
    PrivatePlace,
    PrivateUrl,
    ProjectName,
    Retention,
    Rules,
    SecretLine,
    Servers,
    SparkMaster,
    Storage,
    TokenRoles,
    TrackingUri,
    WebUrl,
    bytes_of,
    opened,
)

__all__ = [
    "SECRET",
    "Settings",
    "environment_of",
    "hand_on",
    "keep_libraries_quiet",
    "names_in_home",
    "read_settings",
    "variables",
]

_PREFIX = "ENCORE_"

SECRET = {"REDIS_PASSWORD", "KAFKA_PASSWORD", "MLFLOW_TRACKING_URI", "ENCORE_API_KEYS", "SCHEMA_REGISTRY_URL"}
"""Variables whose values are secret."""


class _InHome:
    """A path in the home of the settings."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __get__(self, settings: "Settings", _: type) -> Path:
        return settings.home / self.path


class Settings(BaseSettings):
    """All settings, made by `read_settings`: a field's alias is its environment variable, its docstring the meaning.

    Paths are absolute, so that child processes agree on them wherever they start.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        case_sensitive=True,
        env_ignore_empty=True,
        populate_by_name=True,
        use_attribute_docstrings=True,
    )

    kafka_servers: Servers = Field("localhost:9092", validation_alias="KAFKA_SERVERS")
    """Bootstrap servers of Kafka, with commas between."""
    kafka_tls: bool = Field(False, validation_alias="KAFKA_TLS")
    """Whether Kafka is reached over TLS."""
    kafka_ca: File | None = Field(None, validation_alias="KAFKA_CA")
    """The certificate that vouches for Kafka; by default the system's."""
    kafka_username: str | None = Field(None, validation_alias="KAFKA_USERNAME")
    """The name of SASL, where Kafka asks for one."""
    kafka_password: SecretStr | None = Field(None, validation_alias="KAFKA_PASSWORD")
    """Its password."""
    kafka_mechanism: Mechanism = Field("PLAIN", validation_alias="KAFKA_SASL_MECHANISM")
    """How SASL authenticates."""
    schema_registry: SecretStr | None = Field(None, validation_alias="SCHEMA_REGISTRY_URL")
    """Where Avro's schemas are, for `encore translate`; it may hold a password."""
    redis_host: Host = Field("127.0.0.1", validation_alias="REDIS_HOST")
    """Where Redis is: of a cluster, one of its nodes."""
    redis_port: Port = Field(6379, validation_alias="REDIS_PORT")
    """The port of Redis."""
    redis_password: SecretLine | None = Field(None, validation_alias="REDIS_PASSWORD")
    """The password of Redis."""
    redis_cluster: bool = Field(False, validation_alias="REDIS_CLUSTER")
    """Whether host and port are those of a node of a Redis Cluster."""
    redis_replicas: Annotated[int, Field(ge=0, le=10)] | None = Field(None, validation_alias="ENCORE_REDIS_REPLICAS")
    """How many replicas must have the states before offsets are committed; by default one, if there are any."""
    redis_wait_ms: Annotated[int, Field(ge=1, le=8_000)] = Field(1_000, validation_alias="ENCORE_REDIS_WAIT_MS")
    """How long to wait for these replicas, in ms."""
    api_host: Host = Field("127.0.0.1", validation_alias="API_HOST")
    """The address of the API; other machines reach it only with `ENCORE_API_KEYS`, or with `ENCORE_API_OPEN`."""
    api_port: Port = Field(8000, validation_alias="API_PORT")
    """The port of the API."""
    feast_ui_host: Host = Field("127.0.0.1", validation_alias="FEAST_UI_HOST")
    """The address of Feast's pages, with the API's rule."""
    feast_ui_port: Port = Field(8888, validation_alias="FEAST_UI_PORT")
    """The port of Feast's pages."""
    console_host: Host = Field("127.0.0.1", validation_alias="CONSOLE_HOST")
    """The address of the console, with the API's rule."""
    console_port: Port = Field(8501, validation_alias="CONSOLE_PORT")
    """The port of the console."""
    mlflow_port: Port = Field(5000, validation_alias="MLFLOW_PORT")
    """The port of `encore mlflow`, which this machine alone reaches."""
    prometheus: WebUrl | None = Field(None, validation_alias="PROMETHEUS_URL")
    """A Prometheus that has the metrics, of which the console shows the past; by default what the monitor keeps."""
    metrics_host: Host = Field("127.0.0.1", validation_alias="ENCORE_METRICS_HOST")
    """The address at which a worker, the monitor and the producer serve their metrics."""
    stream_port: PortOrNone = Field(0, validation_alias="ENCORE_STREAM_PORT")
    """The port of a worker's metrics; 0: none."""
    monitor_port: PortOrNone = Field(0, validation_alias="ENCORE_MONITOR_PORT")
    """The port of the monitor's metrics; 0: none."""
    producer_port: PortOrNone = Field(0, validation_alias="ENCORE_PRODUCER_PORT")
    """The port of the producer's metrics; 0: none."""
    home: File = Field(Path(".encore"), validation_alias="ENCORE_HOME", validate_default=True)
    """The folder of all state; another one is another system."""
    storage: Storage = Field("", validation_alias="ENCORE_STORAGE")
    """What machines share: log, predictions, models, in a bucket (s3://, gs://, az://) or folder; else in the home."""
    clock: Literal["wall", "events"] = Field("wall", validation_alias="ENCORE_CLOCK")
    """What is now: the `wall`'s time, or the newest event's (`events`), to explore old data."""
    predictions_kept: Memory = Field("2GB", validation_alias="ENCORE_PREDICTIONS_KEPT")
    """How large the archive of predictions may become; the oldest files go."""
    run_logs: Memory = Field("20MB", validation_alias="ENCORE_RUN_LOGS")
    """How large the output of each part of `encore up` may become; the oldest lines go."""
    retention: Retention = Field("", validation_alias="ENCORE_RETENTION")
    """How long things are kept: log=400d, predictions=90d, dead_letters=30d, models=365d, state:ENTITY=60d. By default
    nothing goes by age."""
    project: ProjectName = Field(PROJECT, validation_alias="ENCORE_PROJECT")
    """A project's folder, as `--project` names it, or a name of the package's own shop: by default what the event log
    says. The name is part of keys, topics and group."""
    partitions: Annotated[int, Field(ge=1, le=1000)] = Field(4, validation_alias="ENCORE_PARTITIONS")
    """How many partitions a new events topic gets."""
    duckdb_memory: Memory = Field("2GB", validation_alias="ENCORE_DUCKDB_MEMORY")
    """How much memory DuckDB takes; past it, batch spills to disk."""
    batch: Literal["duckdb", "spark"] = Field("duckdb", validation_alias="ENCORE_BATCH")
    """What computes historical features; `spark` needs the extra `spark`, and Java."""
    spark_master: SparkMaster = Field("local[*]", validation_alias="ENCORE_SPARK_MASTER")
    """Where Spark runs."""
    predictions_topic: Literal["on", "off"] = Field("on", validation_alias="ENCORE_PREDICTIONS")
    """Whether answers are sent to the topic of predictions."""
    mlflow_uri: TrackingUri | None = Field(None, validation_alias="MLFLOW_TRACKING_URI")
    """Where MLflow keeps runs and versions of models, by default a database in the home; it may hold a password."""
    redis_username: str | None = Field(None, validation_alias="REDIS_USERNAME")
    """The user of Redis."""
    redis_tls: bool = Field(False, validation_alias="REDIS_TLS")
    """Whether Redis is reached over TLS."""
    redis_ca: File | None = Field(None, validation_alias="REDIS_CA")
    """The certificate that vouches for Redis; by default the system's."""
    api_keys: Keys = Field(SecretStr(""), validation_alias="ENCORE_API_KEYS")
    """Names, hashes and roles of keys that `encore key` made. Without them servers listen on loopback only."""
    oidc_issuer: PrivateUrl | None = Field(None, validation_alias="ENCORE_OIDC_ISSUER")
    """An OpenID Connect issuer whose tokens are accepted beside keys; by default none."""
    oidc_audience: str | None = Field(None, validation_alias="ENCORE_OIDC_AUDIENCE")
    """For whom its tokens must be."""
    oidc_keys: PrivatePlace = Field("", validation_alias="ENCORE_OIDC_KEYS")
    """Where the issuer's public keys are, an address or a file; by default where its discovery document says."""
    oidc_claim: str = Field("roles", validation_alias="ENCORE_OIDC_CLAIM")
    """The claim of a token that lists roles or groups."""
    oidc_roles: TokenRoles = Field("", validation_alias="ENCORE_OIDC_ROLES")
    """What roles or groups there may do here: ops=operate,sso-admins=admin; by default those of the same name."""
    api_open: bool = Field(False, validation_alias="ENCORE_API_OPEN")
    """Whether servers without keys may listen where other machines reach them."""
    hosts: Hosts = Field("", validation_alias="ENCORE_HOSTS")
    """Further names under which the servers are reached, each with a port or for any."""
    rate_limit: Annotated[float, Field(ge=0.1, le=1e6)] | None = Field(None, validation_alias="ENCORE_RATE_LIMIT")
    """Requests per second that a caller may make; by default any number."""
    cors: Origins = Field("", validation_alias="ENCORE_CORS")
    """Origins of other sites whose pages may ask the API."""
    log_format: Literal["text", "json"] = Field("text", validation_alias="ENCORE_LOG")
    """The lines of the log: `text` or `json`."""
    otlp_endpoint: str | None = Field(None, validation_alias="OTEL_EXPORTER_OTLP_ENDPOINT")
    """Where traces go; needs the extra `tracing`."""
    interventions: Rules = Field("", validation_alias="ENCORE_INTERVENTIONS")
    """What to do about carts that may be abandoned, as JSON; by default the rules of model/interventions.py."""
    shared_meters: Path | None = Field(None, validation_alias="ENCORE_SHARED_METERS")
    """The folder in which API processes add up their metrics; `encore serve --workers` sets it."""
    beat: File | None = Field(None, validation_alias="ENCORE_BEAT")
    """A file that a worker, the monitor or the producer touches while it is well."""
    asked_by: str = Field("", validation_alias="ENCORE_ASKED_BY")
    """For whom a command works, as the audit log names them; servers set it for the commands that they run."""

    _declared: Project = PrivateAttr(default_factory=lambda: DEFAULT)

    log: ClassVar[_InHome] = _InHome("log")
    """Folder of the event log, where `storage` does not say otherwise: `server.storage` knows."""
    iceberg: ClassVar[_InHome] = _InHome("iceberg")
    """Folder of the log's Iceberg table: its catalog and metadata."""
    copies: ClassVar[_InHome] = _InHome("copies")
    """Folder of copies of files that are in a bucket."""
    models: ClassVar[_InHome] = _InHome("models")
    """Folder of the model registry."""
    predictions: ClassVar[_InHome] = _InHome("predictions")
    """Folder of the archive of predictions, where `storage` does not say otherwise."""
    quality: ClassVar[_InHome] = _InHome("quality")
    """Folder of the last reports on live quality, drift and retraining."""
    plan: ClassVar[_InHome] = _InHome("plan.json")
    """File of the compiled plan."""
    plans: ClassVar[_InHome] = _InHome("plans")
    """Folder of every plan that was compiled, by its hash."""
    feast: ClassVar[_InHome] = _InHome("feast")
    """Folder of Feast's registry."""
    broker: ClassVar[_InHome] = _InHome("broker")
    """Folder of the embedded broker."""
    apache_kafka: ClassVar[_InHome] = _InHome("broker/apache")
    """Folder of Apache Kafka, with its topics."""
    store: ClassVar[_InHome] = _InHome("store")
    """Folder of the embedded store."""
    shop: ClassVar[_InHome] = _InHome("shop.json")
    """File of the synthetic shop whose history the log holds."""
    mlflow: ClassVar[_InHome] = _InHome("mlflow")
    """Folder of MLflow's database and artifacts, where it is not elsewhere."""
    audit_log: ClassVar[_InHome] = _InHome("audit-log")
    """Folder of the audit log, which outlives the data that it describes."""
    run: ClassVar[_InHome] = _InHome("run")
    """Folder of process ids, and of the processes' output."""

    @property
    def declared(self) -> Project:
        """The project whose schema, features and targets apply."""
        return self._declared

    def declared_by(self, project: Project) -> "Settings":
        """Return a copy of these settings for a project's declarations."""
        settings = self.model_copy()
        settings._declared = project  # noqa: SLF001 - our own
        return settings

    @property
    def intervention_rules(self) -> tuple[InterventionRule, ...]:
        """Interventions against abandoned carts, by probability."""
        return parse_rules(self.interventions)

    @property
    def kafka_access(self) -> Access:
        """Authentication settings for Kafka clients."""
        return Access(
            tls=self.kafka_tls,
            ca=str(self.kafka_ca) if self.kafka_ca else None,
            mechanism=self.kafka_mechanism,
            username=self.kafka_username,
            password=opened(self.kafka_password),
        )

    @property
    def predictions_bytes(self) -> int:
        """How large the archive of predictions may become."""
        return bytes_of(self.predictions_kept)

    @property
    def run_log_bytes(self) -> int:
        """Maximum size of the output of a part of `encore up`; older output may take as much again."""
        return bytes_of(self.run_logs)

    @property
    def redis_access(self) -> RedisAccess:
        """Authentication settings for Redis clients."""
        return RedisAccess(
            host=self.redis_host,
            port=self.redis_port,
            username=self.redis_username,
            password=opened(self.redis_password),
            tls=self.redis_tls,
            ca=str(self.redis_ca) if self.redis_ca else None,
            cluster=self.redis_cluster,
        )

    @property
    def kafka_names(self) -> KafkaNames:
        """The project's topics and group."""
        return kafka_names_of(self.project)

    @property
    def home_key(self) -> Path:
        """The file of the administrator's key that a server without `api_keys` makes."""
        return self.run / "admin.key"

    @property
    def keys(self) -> tuple[ApiKey, ...]:
        """The accepted API keys; empty where none is required."""
        return parse_keys(self.api_keys.get_secret_value())

    @property
    def oidc(self) -> Oidc | None:
        """The issuer whose tokens are accepted, if any. Raises ConfigurationError if it has no audience."""
        if self.oidc_issuer is None:
            return None
        if self.oidc_audience is None:
            raise ConfigurationError(
                "settings: ENCORE_OIDC_ISSUER goes with ENCORE_OIDC_AUDIENCE, the name that the issuer has for this API"
            )
        roles = parse_roles(self.oidc_roles)
        return Oidc(self.oidc_issuer, self.oidc_audience, self.oidc_keys, self.oidc_claim, roles)

    @property
    def asks_who(self) -> bool:
        """Whether callers must authenticate."""
        return bool(self.keys) or self.oidc_issuer is not None

    @property
    def known_hosts(self) -> tuple[str, ...]:
        """Further names under which the servers are reached."""
        return tuple(filter(None, self.hosts.split(",")))

    @property
    def known_origins(self) -> tuple[str, ...]:
        """Origins of other sites whose pages may call the API."""
        return tuple(filter(None, self.cors.split(",")))

    @property
    def tracking_uri(self) -> str:
        """MLflow's tracking URI: as set, else a database in the home."""
        return opened(self.mlflow_uri) or database_uri(self.mlflow / "mlflow.db")


def read_settings(**overrides: Any) -> Settings:
    """Return the settings of this process; `overrides`, by field name, precede the environment.

    If ENCORE_PROJECT names a folder, its `encore.toml` supplies what the environment does not set.

    Raises `ConfigurationError`, in one line naming the variables, when one has a bad value or a name beginning with
    `ENCORE_` is unknown. A variable that is set but empty counts as not set.
    """
    _refuse_unknown(os.environ)
    project = _project_folder(str(overrides.get("project") or os.environ.get(_PROJECT) or ""))
    project_settings: dict[str, Any] = {} if project is None else _of_project(project, overrides)
    if project is not None:
        overrides.pop("project", None)  # the folder; its name is in `project_settings`
    try:
        settings = Settings(**overrides, **project_settings)
    except ValidationError as error:
        problems = "; ".join(_describe(dict(details), project, project_settings) for details in error.errors())
        raise ConfigurationError(f"settings: {problems}") from None
    _ = settings.kafka_access, settings.redis_access, settings.oidc  # raise where the variables contradict
    if project is not None:
        settings = settings.declared_by(project)
    if "project" in settings.model_fields_set:
        return settings
    if is_remote(settings.storage):  # each machine sets its project: nothing is read over the network
        return settings.model_copy(update={"project": settings.project})
    identity = read_identity(Path(settings.storage) / "log" if settings.storage else settings.log)
    return settings.model_copy(update={"project": identity.project}) if identity else settings


_PROJECT = "ENCORE_PROJECT"


def _project_folder(text: str) -> Project | None:
    """Return the project whose folder `text` names; None if it is a project's name, or empty."""
    if not text or (PROJECT_NAME.fullmatch(text) and not Path(text, PROJECT_FILE).exists()):
        return None
    return open_project(Path(text)) if Path(text).is_dir() or "/" in text else None


def _of_project(project: Project, overrides: Mapping[str, Any]) -> dict[str, str]:
    """Return, by variable, the settings of a project that neither `overrides` nor the environment replaces.

    Paths are relative to the project's folder, which holds its home.
    """
    assert project.folder is not None  # noqa: S101 - as `open_project` made it
    aliases = {str(field.validation_alias): name for name, field in Settings.model_fields.items()}
    for name in project.settings:
        if name in SECRET or name == _PROJECT or name not in aliases:
            problem = "is a secret, and belongs in the environment" if name in SECRET else "is no setting of a project"
            raise ConfigurationError(f"{project.folder / PROJECT_FILE}: [settings] {name} {problem}")
    values = {"ENCORE_HOME": ".encore"} | {name: value for name, value in project.settings.items() if value != ""}
    values |= {name: seen_from(project.folder, values[name]) for name in PATHS if name in values}
    return {
        _PROJECT: project.name,
        **{name: text for name, text in values.items() if aliases[name] not in overrides and not os.environ.get(name)},
    }


def variables() -> list[str]:
    """Return the names of all environment variables that are settings, in the order of `Settings`."""
    return [str(field.validation_alias) for field in Settings.model_fields.values()]


def names_in_home() -> set[str]:
    """Return the names of all files and folders that Encore keeps in a home."""
    return {entry.path.partition("/")[0] for entry in vars(Settings).values() if isinstance(entry, _InHome)}


def keep_libraries_quiet() -> None:
    """Disable MLflow's telemetry, before it is imported, unless the user has set it."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")


def environment_of(settings: Settings) -> dict[str, str]:
    """Return the environment of a child process that is to have these settings, whatever their source."""
    child_variables = {}
    for name in settings.model_fields_set:
        value = getattr(settings, name)
        value = value.get_secret_value() if isinstance(value, SecretStr) else value
        if isinstance(value, str | int | float | Path):
            child_variables[str(Settings.model_fields[name].validation_alias)] = str(value)
    if settings.declared.folder is not None:
        child_variables[_PROJECT] = str(settings.declared.folder)
    return {**os.environ, **child_variables}


def _refuse_unknown(names: Any) -> None:
    known_names = variables()
    for name in sorted(names):
        if name.startswith(_PREFIX) and name not in known_names:
            nearest = difflib.get_close_matches(name, known_names, n=1, cutoff=0.0)[0]
            raise ConfigurationError(f"settings: {name} is not a setting; did you mean {nearest}?")


def _describe(details: dict[str, Any], project: Project | None, project_settings: Mapping[str, str]) -> str:
    """Describe one error, without showing a secret."""
    name = ".".join(map(str, details["loc"]))
    field = next((f for n, f in Settings.model_fields.items() if name in (n, f.validation_alias)), None)
    name = str(field.validation_alias) if field else name
    message = str(details["msg"]).removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    location = f" in {project.folder}/{PROJECT_FILE}" if project is not None and name in project_settings else ""
    return f"{name}{location}: {message}" + (
        "" if name in SECRET or "@" in str(details["input"]) else f" (it is {details['input']!r})"
    )


def hand_on(values: Mapping[str, str]) -> None:
    """Set variables for the processes that are started from now on."""
    os.environ.update(values)
