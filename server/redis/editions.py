"""The live edition of the states, as every part of a system finds it."""

import redis

from data.errors import ConfigurationError
from data.log.retention import Retention
from data.units import HOUR_US
from features.plan.cache import load_plan
from features.plan.plan import Plan
from features.plan.reach import refusal_of_lives
from features.state.editions.editions import Editions, Opened
from features.state.editions.standing import Edition
from features.state.online.states import OnlineStates
from server.redis.mark import Mark
from server.settings import Settings

__all__ = ["claim_live", "editions_of", "fits", "let_live", "lives_of", "open_live", "states_of"]


def editions_of(client: "redis.Redis", settings: Settings) -> Editions:
    """Return the editions of the states of the settings' project."""
    return Editions(client, settings.project)


def states_of(client: "redis.Redis", settings: Settings) -> OnlineStates:
    """Return the live states, without compiling definitions."""
    editions = editions_of(client, settings)
    live = editions.live()
    return editions.states(Edition(), settings.declared.schema) if live is None else editions.open(live).states


def open_live(client: "redis.Redis", settings: Settings, *, guarded: bool = False) -> Opened:
    """Return the live edition; if none is recorded, the first edition with the present definitions."""
    editions = editions_of(client, settings)
    live = editions.live()
    if live is None:
        return editions.opened(Edition(), load_plan(settings.plan, settings.declared), guarded=guarded)
    return editions.open(live, guarded=guarded)


def claim_live(client: "redis.Redis", settings: Settings, *, guarded: bool = False) -> Opened:
    """Return the live edition for folding into it; if none is recorded, record the first one.

    It is not recorded for states made by other definitions than the present ones. Raises as `lives_of` does.
    """
    editions = editions_of(client, settings)
    if editions.read() is None:
        plan = load_plan(settings.plan, settings.declared)
        if fits(Mark(client, settings.project).read(), plan):
            editions.begin(plan)
    live = open_live(client, settings, guarded=guarded)
    let_live(live, settings)
    return live


def let_live(edition: Opened, settings: Settings) -> None:
    """Set the time to live of an edition's states as the settings say. Raises as `lives_of` does."""
    edition.states.inventory.let_live(lives_of(edition.plan, settings))


def lives_of(plan: Plan, settings: Settings) -> dict[str, int]:
    """Return the time to live of a plan's states after their last event, ms, by entity.

    Raises ConfigurationError if an expired state could answer differently from one that never existed.
    """
    lives = Retention.parse(settings.retention).states
    refusal = refusal_of_lives(plan, lives)
    if lives and settings.clock == "events":
        refusal = "states leave by the wall clock, and ENCORE_CLOCK=events answers by the time of events"
    if refusal:
        raise ConfigurationError(f"ENCORE_RETENTION: {refusal}")
    # An hour of slack: an event may be five minutes ahead of the clock.
    return {entity: (life_us + HOUR_US) // 1000 for entity, life_us in lives.items()}


def fits(mark: str, plan: Plan) -> bool:
    """Return whether states with this mark were made by this plan; true for an empty mark."""
    return not mark or mark.split("/")[: len(plan.entities)] == [str(entity.layout) for entity in plan.entities]
