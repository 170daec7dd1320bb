"""Settings are read once, refuse what they do not know, and name what is wrong."""

from pathlib import Path

import pytest
from project_folder import make
from pydantic import SecretStr, ValidationError

from data.errors import ConfigurationError
from server.settings import SECRET, Settings, read_settings, variables


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for field in Settings.model_fields.values():
        monkeypatch.delenv(str(field.validation_alias), raising=False)


def test_defaults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    settings = read_settings()
    assert settings.model_dump() == {
        "kafka_servers": "localhost:9092",
        "redis_cluster": False,
        "redis_replicas": None,
        "redis_wait_ms": 1_000,
        "kafka_tls": False,
        "kafka_ca": None,
        "kafka_username": None,
        "kafka_password": None,
        "kafka_mechanism": "PLAIN",
        "schema_registry": None,
        "redis_host": "127.0.0.1",
        "redis_port": 6379,
        "redis_password": None,
        "api_host": "127.0.0.1",
        "api_port": 8000,
        "feast_ui_host": "127.0.0.1",
        "feast_ui_port": 8888,
        "console_host": "127.0.0.1",
        "console_port": 8501,
        "mlflow_port": 5000,
        "metrics_host": "127.0.0.1",
        "stream_port": 0,
        "monitor_port": 0,
        "producer_port": 0,
        "home": tmp_path / ".encore",
        "clock": "wall",
        "partitions": 4,
        "duckdb_memory": "2GB",
        "batch": "duckdb",
        "spark_master": "local[*]",
        "predictions_topic": "on",
        "mlflow_uri": None,
        "prometheus": None,
        "shared_meters": None,
        "beat": None,
        "asked_by": "",
        "oidc_issuer": None,
        "oidc_audience": None,
        "oidc_keys": "",
        "oidc_claim": "roles",
        "oidc_roles": "",
        "redis_username": None,
        "redis_tls": False,
        "redis_ca": None,
        "api_keys": SecretStr(""),
        "api_open": False,
        "hosts": "",
        "rate_limit": None,
        "cors": "",
        "log_format": "text",
        "otlp_endpoint": None,
        "interventions": "",
        "project": "encore",
        "predictions_kept": "2GB",
        "run_logs": "20MB",
        "retention": "",
        "storage": "",
    }
    assert (settings.predictions_bytes, settings.run_log_bytes) == (2_000_000_000, 20_000_000)
    assert read_settings(run_logs="1.5 MiB").run_log_bytes == 1_572_864
    assert read_settings(predictions_kept="1.5TB").predictions_bytes == 1_500_000_000_000


def test_all_state_lies_under_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ENCORE_HOME", str(tmp_path))
    settings = read_settings()
    assert [settings.log, settings.models, settings.plan, settings.feast, settings.broker, settings.store] == [
        tmp_path / name for name in ("log", "models", "plan.json", "feast", "broker", "store")
    ]
    assert settings.run == tmp_path / "run"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("variable", [name for name in variables() if name not in SECRET | {"ENCORE_PROJECT"}])
def test_what_a_project_sets_is_the_same_wherever_a_command_is_typed(
    variable: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A path is seen from the project's folder; what is none is refused, or is no path."""
    shop = make(tmp_path / "shop", encore_toml=f'version = 1\nname = "library"\n[settings]\n{variable} = "here/it"\n')
    said = []
    for place in (tmp_path, shop):
        monkeypatch.chdir(place)
        try:
            said.append(str(read_settings(project=str(shop))))
        except ConfigurationError as error:
            said.append(str(error))
    assert said[0] == said[1]


def test_the_environment_is_heard_and_flags_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_SERVERS", "one:9092, two:9093")
    monkeypatch.setenv("API_PORT", "8001")
    monkeypatch.setenv("ENCORE_CLOCK", "events")
    monkeypatch.setenv("REDIS_HOST", "")
    settings = read_settings(api_port=8002)
    assert settings.kafka_servers == "one:9092,two:9093"
    assert (settings.api_port, settings.clock, settings.redis_host) == (8002, "events", "127.0.0.1")


def test_a_password_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_PASSWORD", "hunter2")
    settings = read_settings()
    assert settings.redis_password is not None
    assert settings.redis_password.get_secret_value() == "hunter2"
    assert "hunter2" not in repr(settings) + str(settings) + str(settings.model_dump())


def test_models_are_kept_in_the_home_or_where_mlflow_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ENCORE_HOME", str(tmp_path))
    assert read_settings().tracking_uri == f"sqlite:///{tmp_path}/mlflow/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:hunter2@mlflow.example.org")
    settings = read_settings()
    assert settings.tracking_uri == "https://me:hunter2@mlflow.example.org"
    assert "hunter2" not in repr(settings)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "me:hunter2@there")
    with pytest.raises(ConfigurationError, match=r"MLFLOW_TRACKING_URI: .*mlflow\.example\.org") as refused:
        read_settings()
    assert "hunter2" not in str(refused.value)


def test_rules_of_intervention_are_checked_at_start() -> None:
    rules = '[{"risk_level": "LOW", "from_probability": 0, "intervention": "none"}]'
    assert [rule.intervention for rule in read_settings(interventions=rules).intervention_rules] == ["none"]
    with pytest.raises(ConfigurationError, match=r"ENCORE_INTERVENTIONS: .*the first must begin at 0"):
        read_settings(interventions=rules.replace("0,", "0.5,"))


def test_they_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        read_settings().api_port = 1  # type: ignore[misc]


def test_servers_may_have_ipv6_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_SERVERS", "[::1]:9092, [2001:db8::7]:9093,kafka:9094")
    for name in ("REDIS_HOST", "API_HOST", "CONSOLE_HOST"):
        monkeypatch.setenv(name, "::1")
    settings = read_settings()
    assert settings.kafka_servers == "[::1]:9092,[2001:db8::7]:9093,kafka:9094"
    assert (settings.redis_host, settings.api_host, settings.console_host) == ("::1",) * 3
    monkeypatch.setenv("API_HOST", "[::1]")
    assert read_settings().api_host == "::1"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("REDIS_PORT", "6379x", "REDIS_PORT: .*integer.*'6379x'"),
        ("REDIS_PORT", "0", "REDIS_PORT: .*greater than or equal to 1"),
        ("API_PORT", "65536", "API_PORT: .*65535"),
        ("FEAST_UI_PORT", "-1", "FEAST_UI_PORT"),
        ("KAFKA_SERVERS", "localhost", "KAFKA_SERVERS: 'localhost' is not host:port"),
        ("KAFKA_SERVERS", "a:1,", "KAFKA_SERVERS: '' is not host:port"),
        ("KAFKA_SERVERS", "a:70000", "KAFKA_SERVERS"),
        ("KAFKA_SERVERS", "::1:9092", r"KAFKA_SERVERS: '::1:9092' is not host:port \(as in .* \[::1\]:9092\)"),
        ("REDIS_HOST", "redis://here", "REDIS_HOST: not the name"),
        ("API_HOST", "a b", "API_HOST"),
        ("ENCORE_CLOCK", "sundial", "ENCORE_CLOCK: .*'wall' or 'events'.*'sundial'"),
        ("ENCORE_PARTITIONS", "0", "ENCORE_PARTITIONS"),
        ("ENCORE_DUCKDB_MEMORY", "lots", "ENCORE_DUCKDB_MEMORY: not an amount of memory"),
        ("ENCORE_BATCH", "polars", "ENCORE_BATCH: .*'duckdb' or 'spark'.*'polars'"),
        ("ENCORE_API_KEYS", "console:hunter2", "ENCORE_API_KEYS: a key is name:sha256.*encore key"),
        ("ENCORE_RATE_LIMIT", "0", "ENCORE_RATE_LIMIT"),
        ("ENCORE_CORS", "*", "ENCORE_CORS: .*not an origin"),
        ("ENCORE_SPARK_MASTER", "local[0]", "ENCORE_SPARK_MASTER: not a Spark master"),
    ],
)
def test_a_bad_value_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=message) as refused:
        read_settings()
    assert "\n" not in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_all_bad_values_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_PORT", "x")
    monkeypatch.setenv("REDIS_PORT", "y")
    with pytest.raises(ConfigurationError, match=r"REDIS_PORT: .*; API_PORT: "):
        read_settings()


def test_an_unknown_name_is_refused_with_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENCORE_HOMES", "/tmp")
    with pytest.raises(ConfigurationError, match=r"ENCORE_HOMES is not a setting; did you mean ENCORE_HOME\?"):
        read_settings()


def test_names_of_other_programs_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_COLOUR", "red")
    monkeypatch.setenv("PATH_TO_ENCORE", "here")
    read_settings()


def test_an_unknown_flag_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="colour"):
        read_settings(colour="red")
