"""A shop of which every answer is kept: its home with log, models and predictions, its states in memory."""

import asyncio
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from event_streams import START_US, TOPIC, Act, Placed, act, as_log, place, sourced
from serving import make_home, plan
from shop_questions import ask

from data.atomic import write_whole
from data.clock import ManualClock
from data.default_shop import SHOP
from data.event import Event
from data.log.event_log import EventLog
from data.units import DAY_US, HOUR_US, from_micros
from events.predictions.archive import Archived
from events.predictions.message import decode_prediction
from features.batch.engine import DuckDBEngine
from features.batch.materializer import materialize
from features.plan.plan import Plan
from features.state.fold import Fold
from features.state.memory import MemoryStates
from model.registry.published import Registry
from server.process.server_process import free_port
from server.redis.memory import MemoryLiveStates
from server.scoring.clock import told_by
from server.scoring.contenders import Models
from server.scoring.kept_predictions import open_archive
from server.scoring.prediction_messages import PredictionMessages
from server.scoring.question import Question
from server.scoring.reader import Reader
from server.scoring.scoring import Answer, Scoring
from server.scoring.telemetry import Telemetry
from server.settings import read_settings

__all__ = ["AnsweredShop", "traffic"]


def traffic(number: int, *, users: int = 60, products: int = 20, seed: int = 0) -> list[Event]:
    """Events a few minutes apart, some of them hours late."""
    draw = random.Random(seed)
    kinds = ("view", "view", "add_to_cart", "purchase")
    return [
        act(
            Act(
                draw.choice(kinds),
                f"u{draw.randrange(users)}",
                f"p{draw.randrange(products)}",
                max(0, n * HOUR_US // 10 - draw.choice((0, 0, 0, draw.randrange(2 * DAY_US)))),
                draw.randrange(1, 9_999) / 100,
            ),
            f"e{seed}-{n}",
        )
        for n in range(number)
    ]


class AnsweredShop:
    """Folds events, logs them, answers questions, and keeps the answers, as worker, server and monitor do."""

    def __init__(self, folder: Path) -> None:
        self.home = make_home(folder)
        self.settings = read_settings(
            home=self.home, kafka_servers=f"127.0.0.1:{free_port()}", redis_port=free_port(), redis_host="127.0.0.1"
        )
        self.log = EventLog(self.home / "log")
        self.clock = ManualClock(START_US)
        self.plan = plan()
        self.states = MemoryStates()
        self._models = self._of_plan()
        self._offset = 0
        self._ends = [0, 0, 0, 0]

    def place(self, events: Sequence[Event]) -> list[Placed]:
        """The events with the offsets that their topic gives them next."""
        placed = [one._replace(offset=one.offset + self._ends[one.partition]) for one in place(events, 4)]
        for one in placed:
            self._ends[one.partition] = one.offset + 1
        return placed

    def fold(self, placed: Sequence[Placed], *, logged: bool = True) -> None:
        """Fold events as a worker does, and move the clock to the newest."""
        Fold(self.plan, self.states, TOPIC).apply(sourced(placed))
        if logged:
            self.write(placed)
        self.clock.now_us = max(self.clock.now_us, *(one.event.timestamp_us for one in placed))

    def write(self, placed: Sequence[Placed]) -> None:
        """Bring events into the log."""
        as_log(self.log, placed, rows_per_file=1_000)

    def turn_to(self, plan: Plan) -> None:
        """Make all states anew from the log, by these definitions, as a rollout does."""
        write_whole(self.settings.plans / f"{plan.hash}.json", msgspec.json.encode(plan))
        self.plan, self.states = plan, MemoryStates()
        self._models = self._of_plan()
        self.remake()

    def remake(self) -> None:
        """Make all states anew from the log in their place, as a materialization does."""
        with DuckDBEngine(self.log, threads=1) as engine:
            for entity in self.plan.entities:
                materialize(self.states, engine.states(entity), entity, self.log)

    def ask(self, batches: Sequence[Sequence[Question]]) -> list[Answer]:
        """Answer questions, each batch in a call of its own, and keep what was answered."""
        self._models.refresh()
        given: list[Answer] = []
        reader = Reader(self.plan, MemoryLiveStates(self.states), Telemetry())
        scoring = Scoring(reader, self._models, told_by(self.clock), telemetry=Telemetry(), observe=given.extend)

        async def answer() -> None:
            for batch in batches:
                await scoring.score(batch)
            await asyncio.sleep(0)

        asyncio.run(answer())
        self._keep(given)
        return given

    def _of_plan(self) -> Models:
        return Models(Registry(self.home / "models"), ("repeat_purchase",), self.plan)

    def _keep(self, given: Sequence[Answer]) -> None:
        made = PredictionMessages(self._models, SHOP)([(from_micros(self.clock()), answer) for answer in given])
        kept = []
        for offset, (_, value) in enumerate(made, self._offset):
            one = decode_prediction(value)
            assert one is not None
            kept.append(Archived(0, offset, one))
        self._offset += len(kept)
        open_archive(self.settings).append("topic", kept)

    def questions(self, number: int, *, seed: int = 0) -> Iterator[list[Question]]:
        """Batches of 1 to 50 questions, together this many, about whom there is and who is not."""
        draw = random.Random(seed)
        while number > 0:
            size = min(number, draw.choice((1, 1, 2, 7, 50)))
            number -= size
            yield [
                ask(
                    f"u{draw.randrange(65)}", f"p{draw.randrange(22)}", draw.choice((None, draw.randrange(9_999) / 100))
                )
                for _ in range(size)
            ]
