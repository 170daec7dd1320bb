"""Authentication settings for Kafka clients: TLS and SASL, for kafka-python, librdkafka, and Kafka's own in Java."""

from dataclasses import dataclass, field
from typing import Any, Literal

from data.errors import ConfigurationError

__all__ = ["OPEN", "Access", "GroupProtocol", "Mechanism"]

_LONGEST_WAIT_MS = 500
"""Longest wait between two attempts to reach a broker; both clients add jitter. By default they wait up to 10 and 30 s,
and would notice a returned broker that much later."""

Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]
"""SASL mechanisms for a name and a password that both clients and Apache Kafka support."""


GroupProtocol = Literal["consumer", "classic"]
"""Kafka's names of its group protocols: `consumer` is that of KIP-848."""


@dataclass(frozen=True, kw_only=True)
class Access:
    """Credentials for a broker: `tls` encrypts, and checks the broker's certificate and name.

    The certificate is checked against the file `ca`, by default the system's. With a `username` clients authenticate by
    SASL. Raises ConfigurationError where only one of name and password is set, or a certificate file without TLS.
    """

    tls: bool = False
    ca: str | None = None
    mechanism: Mechanism = "PLAIN"
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if (self.username is None) != (self.password is None):
            raise ConfigurationError("KAFKA_USERNAME, KAFKA_PASSWORD: set both, or neither")
        if self.ca is not None and not self.tls:
            raise ConfigurationError("KAFKA_CA: goes with KAFKA_TLS=true")

    @property
    def _protocol(self) -> str:
        return ("SASL_" if self.username is not None else "") + ("SSL" if self.tls else "PLAINTEXT")

    def for_kafka_python(self) -> dict[str, Any]:
        """Return keyword arguments of kafka-python's clients."""
        settings: dict[str, Any] = {"security_protocol": self._protocol, "reconnect_backoff_max_ms": _LONGEST_WAIT_MS}
        if self.tls:
            settings |= {"ssl_cafile": self.ca, "ssl_check_hostname": True}
        if self.username is not None:
            settings |= {
                "sasl_mechanism": self.mechanism,
                "sasl_plain_username": self.username,
                "sasl_plain_password": self.password,
            }
        return settings

    def for_librdkafka(self) -> dict[str, Any]:
        """Return settings of librdkafka."""
        settings: dict[str, Any] = {"security.protocol": self._protocol, "reconnect.backoff.max.ms": _LONGEST_WAIT_MS}
        if self.ca is not None:
            settings["ssl.ca.location"] = self.ca
        if self.username is not None:
            settings |= {
                "sasl.mechanism": self.mechanism,
                "sasl.username": self.username,
                "sasl.password": self.password,
            }
        return settings

    def for_java(self) -> dict[str, str]:
        """Return settings of Kafka's own client."""
        settings = {"security.protocol": self._protocol}
        if self.ca is not None:
            settings |= {"ssl.truststore.type": "PEM", "ssl.truststore.location": self.ca}
        if self.username is not None:
            module = "plain.PlainLoginModule" if self.mechanism == "PLAIN" else "scram.ScramLoginModule"
            login = f"username={_quoted(self.username)} password={_quoted(self.password or '')}"
            settings |= {
                "sasl.mechanism": self.mechanism,
                "sasl.jaas.config": f"org.apache.kafka.common.security.{module} required {login};",
            }
        return settings


def _quoted(text: str) -> str:
    """Return text as a JAAS configuration quotes it."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


OPEN = Access()
"""Plain text without authentication, for a broker on this machine or in a private network."""
