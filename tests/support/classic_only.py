"""A broker whose configuration forbids the newer group protocol, as one does that is too old for it."""

from server.process.kafka_broker import KafkaBroker

__all__ = ["ClassicOnly"]


class ClassicOnly(KafkaBroker):
    """Knows classic groups only."""

    def _prepare(self) -> None:
        super()._prepare()
        with self._properties.open("a") as file:
            file.write("group.coordinator.rebalance.protocols=classic\n")
