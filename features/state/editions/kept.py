"""What a new edition of the states takes over from the live one: the states of all kinds that both keep alike.

A state is copied with its fence and its time of expiry. What was folded into it since the live edition was last marked
is folded again where the new edition is followed from that mark on, and the fence skips it. A kind some of whose states
the store has lost is not taken over: what is missing there is in the log.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from msgspec.structs import asdict

from data.log.log import Log
from data.log.sources import newest_topic_id, topic_ids
from data.schema import Schema
from features.state.editions.behind import behind, ends_of
from features.state.editions.editions import Opened

__all__ = ["Kept"]


class Kept(NamedTuple):
    """The kinds of states that an edition takes over from the `live` one, folded up to `marks` by topic.

    `least` is the number of states of each that are there at least, if none were lost.
    """

    live: Opened
    least: Mapping[str, int]
    marks: Mapping[bytes, Mapping[int, int]]

    @classmethod
    def of(cls, live: Opened, edition: Opened, log: Log) -> "Kept | None":
        """Return what an edition can take over; None where that is nothing.

        Kinds whose states keep the same of the same events, and leave the store as late; from one Redis that both are
        in, which has lost none as far as one can tell, whose live edition has everything of earlier topics, and is
        marked in each partition of the newest.
        """
        if _events(live.plan.schema) != _events(edition.plan.schema) or not live.states.copies:
            return None
        stock = live.states.inventory.look()
        if stock.doubtful:
            return None
        newest, marks = newest_topic_id(log.sources()), {}
        for topic in topic_ids(log.sources()):
            marks[topic] = live.marks.read(topic)
            if not marks[topic].keys() >= ends_of(log, topic).keys() or (topic != newest and behind(live, log, topic)):
                return None
        alike = sorted(dict(_kinds(live).items() & _kinds(edition).items()))
        least = {entity: 0 if entity in stock.passing else stock.expected[entity] for entity in alike}
        return cls(live, least, marks) if least else None

    def copy_to(self, edition: Opened, progress: Callable[[int], None]) -> dict[str, int]:
        """Copy the states into an edition that has none of them; return how many, by kind of which none is missing.

        What is set aside meanwhile is set aside there too: the copy may have been made before it was whole again.
        `progress` is called with the number of states copied so far.
        """
        copied = dict.fromkeys(self.least, 0)
        for entity in copied:
            for number in self.live.states.copy(entity, edition.states):
                copied[entity] += number
                progress(sum(copied.values()))
                if aside := [key for key in self.live.states.aside.look() if key.entity in copied]:
                    edition.states.aside.add(aside)
        newest = self.live.states.newest_event()
        if newest is not None:
            edition.states.note_event(newest)
        edition.states.inventory.vouch(copied)
        return {entity: number for entity, number in copied.items() if number >= self.least[entity]}


def _kinds(edition: Opened) -> dict[str, tuple[object, ...]]:
    """Return, by entity, all that its states' bytes and their time in the store depend on."""
    lives = edition.states.inventory.lives()
    return {kind.entity: (kind.join_keys, kind.layout, lives.get(kind.entity)) for kind in edition.plan.entities}


def _events(schema: Schema) -> dict[str, object]:
    """Return what a schema says of events, and not of what is counted and asked by them."""
    return {name: said for name, said in asdict(schema).items() if name not in {"entities", "asks"}}
