"""The settings of the embedded Apache Kafka, except addresses and folders."""

from events.kafka.topics import LARGEST_BATCH

__all__ = ["CLUSTER_SETTINGS", "NODE_SETTINGS", "SINGLE_SETTINGS"]

_MIB = 1024 * 1024

NODE_SETTINGS = {
    # Encore makes its topics itself, with the number of partitions that it wants.
    "auto.create.topics.enable": "false",
    # A batch is unpacked to up to a thousand times as much in the memory of its reader.
    "message.max.bytes": str(LARGEST_BATCH),
    # Disk: a partition keeps its last week, and at most 1 GiB. Of 120 events/s, 570 bytes each, over four partitions
    # that is the last 17 hours before compression; the event log has the rest. What is older goes by whole segments.
    "log.retention.hours": str(7 * 24),
    "log.retention.bytes": str(1024 * _MIB),
    "log.segment.bytes": str(128 * _MIB),
    # Only closed segments are compacted or deleted: Kafka's own topics close theirs early, and stay small.
    "offsets.topic.segment.bytes": str(4 * _MIB),
    "transaction.state.log.segment.bytes": str(4 * _MIB),
    "share.coordinator.state.topic.segment.bytes": str(4 * _MIB),
    "metadata.log.segment.bytes": str(16 * _MIB),
    "metadata.max.retention.bytes": str(64 * _MIB),
    # An idle controller writes and syncs a record twice a second by default, a million in a week.
    "metadata.max.idle.interval.ms": "5000",
    # A month: a system that was stopped for so long goes on where it stopped.
    "offsets.retention.minutes": str(30 * 24 * 60),
    # Memory and threads for one small machine. The cleaner takes 128 MiB by default.
    "log.cleaner.dedupe.buffer.size": str(4 * _MIB),
    "log.cleaner.threads": "1",
    "num.network.threads": "2",
    "num.io.threads": "3",
    "background.threads": "2",
    "group.coordinator.threads": "1",
    "share.coordinator.threads": "1",
    # After a crash the broker is registered again only when the controller has expired its previous session.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    # Groups: the partitions of a dead member go to the others after 3 s. The consumer protocol (KIP-848) takes these
    # times from the broker, the classic one from its members.
    "group.consumer.session.timeout.ms": "3000",
    "group.consumer.min.session.timeout.ms": "1000",
    "group.consumer.heartbeat.interval.ms": "500",
    "group.consumer.min.heartbeat.interval.ms": "100",
    "group.min.session.timeout.ms": "1000",
    "group.initial.rebalance.delay.ms": "0",
}

SINGLE_SETTINGS = {
    # One broker holds the only copy of everything.
    "default.replication.factor": "1",
    "min.insync.replicas": "1",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
}

CLUSTER_SETTINGS = {
    "default.replication.factor": "3",
    "min.insync.replicas": "2",
    "unclean.leader.election.enable": "false",
    "offsets.topic.replication.factor": "3",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "3",
    "transaction.state.log.min.isr": "2",
    "share.coordinator.state.topic.replication.factor": "3",
    "share.coordinator.state.topic.min.isr": "2",
    # A follower that is gone leaves the in-sync replicas before producers give up waiting for it.
    "replica.lag.time.max.ms": "5000",
}
