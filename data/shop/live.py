"""Live traffic of the synthetic shop: the shoppers of its history continue, one event at a time, stamped by a clock."""

from collections.abc import Iterator

from data.clock import Clock
from data.default_shop import EVENT_TYPES, ShopEvent
from data.event import Event
from data.shop.shop import METADATA, Shop
from data.shop.traffic import DEVICES
from data.units import from_micros

__all__ = ["live_events"]


def live_events(shop: Shop, clock: Clock, *, run: str | None = None, seed: int | None = None) -> Iterator[Event]:
    """Yield the events after the shop's history, without end, each with the clock's time when it is taken.

    The shop's own time advances by its events, not by the clock: at `events_per_day` events a day it keeps pace with
    the clock; at a higher rate the same shoppers do the same things in the same order, only sooner.

    `run` names this stretch of traffic in every event id (at most 40 characters); by default it is the time of its
    start. `seed` chooses among the futures of one history; by default it is always the same.
    """
    if run is None:
        run = f"{clock():x}"
    users, products = shop.shoppers.ids, shop.catalogue.ids
    categories, brands = shop.catalogue.category_names(), shop.catalogue.brand_names()
    end_us = shop.config.end_us
    number = 0
    # The history is generated once more (a second per million events): what is scheduled follows from it.
    traffic = shop.traffic()
    for day in traffic.run():
        rows = day[day["time_us"] > end_us]
        if len(rows) and seed is not None:
            traffic.reseed(seed)
            seed = None
        for _, kind, user, product, quantity, amount, discount, visit, device, referrer in rows.tolist():
            number += 1
            visited = EVENT_TYPES[kind] != "return"
            yield ShopEvent(
                event_id=f"live-{run}-{number}",
                event_type=EVENT_TYPES[kind],
                user_id=users[user],
                product_id=products[product],
                amount=amount,
                timestamp=from_micros(clock()),
                quantity=quantity,
                session_id=f"live-{run}-v{visit}" if visited else None,
                category=categories[product],
                brand=brands[product],
                device=DEVICES[device] if visited else None,
                discount=discount,
                order_id=f"live-{run}-v{visit}" if EVENT_TYPES[kind] == "purchase" else None,
                metadata=METADATA[referrer] if visited else None,
            )
