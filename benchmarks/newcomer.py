"""Who reads a topic whole, whatever others of its group have done: an owner of partitions without states or a log."""

from events.consumer import Assigned

__all__ = ["Newcomer"]


class Newcomer:
    """An owner (`events.consumer.Owner`) that begins every partition at its start."""

    note = ""

    def assigned(self, partitions: list[Assigned]) -> dict[int, int]:
        """Where to begin."""
        return {one.partition: one.first for one in partitions}

    def revoked(self) -> dict[int, int]:
        """Nothing is to be committed."""
        return {}

    def lost(self) -> None:
        """Nothing is to be forgotten."""
