"""Dead letters: rejected messages in a topic of their own, with their bytes, the reason, and their origin."""

import logging
from functools import cached_property

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import Producer as RdProducer

from data.errors import ConfigurationError, UnavailableError
from data.event import Rejection
from events.kafka.access import OPEN, Access
from events.kafka.connection import Message, cut
from events.kafka.deadline import Deadline
from events.kafka.topics import LARGEST_LETTER, dead_letter_topic, ensure_dead_letter_topic

__all__ = ["DeadLetters", "headers_of"]

logger = logging.getLogger(__name__)

_TOPIC_S = 1.0
"""Time limit for making the topic."""

_TOO_LARGE = (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE)
"""Refusals that retrying does not heal: the letter is cut."""

_NO_TOPIC = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION)


def headers_of(topic: str, partition: int, offset: int, rejection: Rejection) -> list[tuple[str, bytes]]:
    """Return the headers of a letter that hold its reason and its origin."""
    return [
        ("kind", rejection.kind.encode()),
        ("reason", rejection.reason.encode()),
        ("topic", topic.encode()),
        ("partition", str(partition).encode()),
        ("offset", str(offset).encode()),
    ]


class _Letter:
    """A message and its state of delivery: on its way, kept, or refused with an error."""

    def __init__(self, message: Message, rejection: Rejection) -> None:
        self.key: bytes | None = message.key
        self.value: bytes | None = message.value
        self.headers = [*headers_of(message.topic, message.partition, message.offset, rejection), *message.cut]
        self.is_kept = False
        self.is_on_its_way = False
        self.is_cut = bool(message.cut)
        self.error: KafkaError | None = None

    @property
    def place(self) -> str:
        """Its origin, in words."""
        headers = dict(self.headers)
        return " ".join(f"{name} {headers[name].decode()}" for name in ("partition", "offset"))

    def decided(self, error: KafkaError | None, _: object) -> None:
        """Note the broker's answer (a delivery report)."""
        self.is_on_its_way = False
        self.is_kept, self.error = error is None, error

    def cut(self) -> None:
        """Keep the first kilobyte of key and value."""
        self.key, key_headers = cut("key", self.key)
        self.value, value_headers = cut("value", self.value)
        self.headers += key_headers + value_headers
        self.is_cut = True


class DeadLetters:
    """Sends messages rejected from `topic` to its dead-letter topic, which is made if it is missing.

    It connects with the first letter, since mostly there is none. `flush` returns when the broker has all letters.
    Letters are at least once; their headers identify duplicates. One that is larger than the topic takes is cut.
    """

    def __init__(self, servers: str, topic: str, access: Access = OPEN) -> None:
        self._events_topic = topic
        self._topic = dead_letter_topic(topic)
        self._servers = servers
        self._access = access
        self._pending: list[_Letter] = []

    @cached_property
    def _producer(self) -> RdProducer:
        return RdProducer(
            {
                **self._access.for_librdkafka(),
                "bootstrap.servers": self._servers,
                "logger": logger,
                "acks": "all",
                "message.max.bytes": LARGEST_LETTER,
                # A batch is refused as a whole, so one large letter would have its neighbours cut.
                "batch.num.messages": 1,
                "allow.auto.create.topics": False,
                # A missing topic is reported at once.
                "topic.metadata.propagation.max.ms": 0,
                "message.timeout.ms": 10_000,
            }
        )

    def __len__(self) -> int:
        return len(self._pending)

    def send(self, message: Message, rejection: Rejection) -> None:
        """Send a consumed message on: key and value unchanged, with headers for the reason and the origin."""
        letter = _Letter(message, rejection)
        self._pending.append(letter)
        self._post(letter)

    def _post(self, letter: _Letter) -> None:
        """Hand a letter to the producer; where that fails `flush` tries again."""
        letter.error = None
        try:
            self._producer.produce(
                self._topic, letter.value, letter.key, headers=letter.headers, on_delivery=letter.decided
            )
        except BufferError:
            letter.error = KafkaError(KafkaError._QUEUE_FULL)
        except KafkaException as error:
            letter.error = error.args[0]
        else:
            letter.is_on_its_way = True
        self._producer.poll(0)

    def flush(self, patience_s: float) -> None:
        """Wait until the broker has all letters. Raises UnavailableError otherwise.

        The next `flush` waits or sends again.
        """
        deadline = Deadline(patience_s)
        # A refused letter is sent again at most twice: after the topic is made, and after it is cut.
        for _ in range(3):
            if not self._pending:
                return
            self._producer.flush(deadline.remaining())
            self._pending = [letter for letter in self._pending if not letter.is_kept]
            refused = [letter for letter in self._pending if not letter.is_on_its_way]
            errors = {letter.error.code(): letter.error for letter in refused if letter.error is not None}
            if not errors.keys().isdisjoint(_NO_TOPIC):
                self._make_topic()
            for letter in refused:
                if letter.error is not None and letter.error.code() in _TOO_LARGE and not letter.is_cut:
                    letter.cut()
                    logger.warning("%s does not take a message of %s whole: it is cut", self._topic, letter.place)
                self._post(letter)
            if deadline.expired:
                break
        if self._pending:
            reason = ", ".join(error.str() for error in errors.values()) or "no answer in time"
            raise UnavailableError(f"Kafka: {self._topic} did not take {len(self._pending)} dead letters ({reason})")

    def _make_topic(self) -> None:
        """Make the topic. Raises UnavailableError where it cannot be made."""
        try:
            ensure_dead_letter_topic(self._servers, self._events_topic, timeout_s=_TOPIC_S, access=self._access)
            # Otherwise the client takes it for missing until its next refresh.
            self._producer.list_topics(self._topic, timeout=_TOPIC_S)
        except (ConfigurationError, KafkaException) as error:
            raise UnavailableError(f"Kafka: {error}") from error

    def close(self) -> None:
        """Close the connection, if there is one; call `flush` before."""
        if "_producer" in self.__dict__:
            self._producer.purge()
            self._producer.close()
