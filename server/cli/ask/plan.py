"""`encore plan`: what a load needs, from unit costs measured on a machine, and where it would break next."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.console import Group, RenderableType
from rich.table import Table

from data.errors import ConfigurationError
from data.log.retention import Retention
from data.units import DAY_US
from server.capacity.capacity_plan import CapacityPlan, plan_capacity
from server.capacity.load import Load, Terms
from server.capacity.unit_costs import UnitCosts, keep_costs, unit_costs
from server.cli.terminal import Json, print_result, progress, settings_in_home, words
from server.settings import Settings, read_settings

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["plan"]

_TERMS = Terms()


def plan(  # noqa: PLR0917 - one per flag
    events_per_second: Annotated[float | None, typer.Option(help="Events a second, at the busiest hour.")] = None,
    users: Annotated[float | None, typer.Option(help="Users with a state.")] = None,
    products: Annotated[float | None, typer.Option(help="Products; by default as many as were measured.")] = None,
    pairs: Annotated[
        float | None, typer.Option(help="Pairs of user and product; by default as many for each user as measured.")
    ] = None,
    requests_per_second: Annotated[float, typer.Option(help="Answers of /predict a second.")] = 0.0,
    states: Annotated[
        list[str] | None, typer.Option(metavar="ENTITY=NUMBER", help="States of another entity: user_category=1e9.")
    ] = None,
    headroom: Annotated[float, typer.Option(help="The share of everything that is left free.")] = _TERMS.headroom,
    kept_days: Annotated[
        float | None, typer.Option(help="Days of the event log that are kept; by default ENCORE_RETENTION's, or 365.")
    ] = None,
    kafka_days: Annotated[float, typer.Option(help="Days of Kafka's topic.")] = _TERMS.kafka_days,
    kafka_copies: Annotated[int, typer.Option(help="Its replication factor.")] = _TERMS.kafka_copies,
    replicas: Annotated[int, typer.Option(help="Of each shard of Redis.")] = _TERMS.replicas,
    shard_gb: Annotated[float, typer.Option(help="Memory of a shard of Redis, GB.")] = _TERMS.shard_gb,
    core_price: Annotated[float, typer.Option(help="Of a core a month.")] = _TERMS.core_price,
    memory_price: Annotated[float, typer.Option(help="Of a GB of memory a month.")] = _TERMS.memory_price,
    storage_price: Annotated[float, typer.Option(help="Of a GB of object storage a month.")] = _TERMS.storage_price,
    disk_price: Annotated[float, typer.Option(help="Of a GB of disk a month.")] = _TERMS.disk_price,
    measure: Annotated[
        bool, typer.Option("--measure", help="First measure this machine: a minute, on parts of its own.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Print what a load needs, what it costs, what each line was computed from, and where it would break next.

    Unit costs are those that `--measure` found and keeps in the home, else those of the machine that Encore was
    measured on. They are of the package's own shop.
    """
    settings = settings_in_home("plan --measure") if measure else read_settings()
    costs, costs_path = _measured(settings, as_json) if measure else (unit_costs(settings), None)
    result: dict[str, Any] = {"unit_costs": msgspec.to_builtins(costs)}
    parts: list[RenderableType] = [_costs_view(costs, costs_path)] if measure else []
    counts = {"user": users, "product": products, "user_product": pairs}
    if events_per_second is not None and users is not None:
        load = Load.of(
            costs,
            events_per_second=events_per_second,
            requests_per_second=requests_per_second,
            states={name: count for name, count in counts.items() if count is not None} | _states_of(states or ()),
        )
        terms = Terms(
            headroom=headroom,
            kept_days=_kept_days(settings) if kept_days is None else kept_days,
            kafka_days=kafka_days,
            kafka_copies=kafka_copies,
            replicas=replicas,
            shard_gb=shard_gb,
            core_price=core_price,
            memory_price=memory_price,
            storage_price=storage_price,
            disk_price=disk_price,
        )
        capacity = plan_capacity(load, costs, terms)
        result |= {"load": msgspec.to_builtins(load), "terms": msgspec.to_builtins(terms)}
        result |= msgspec.to_builtins(capacity)
        result["cost"] = capacity.cost
        parts.append(_view(capacity, costs, terms))
    elif not measure:
        raise ConfigurationError("encore plan: give at least --events-per-second and --users, or --measure")
    print_result(result, as_json, Group(*parts))


def _measured(settings: Settings, as_json: bool) -> "tuple[UnitCosts, Path]":
    from server.capacity.measure import measure  # noqa: PLC0415 - it imports the API

    with progress("measuring", as_json) as tell:
        costs = measure(tell)
    return costs, keep_costs(settings, costs)


def _states_of(texts: Sequence[str]) -> dict[str, float]:
    counts = {}
    for text in texts:
        entity, _, number = text.partition("=")
        try:
            counts[entity] = float(number)
        except ValueError:
            raise ConfigurationError(
                f"--states {text}: give an entity and a number, such as user_category=1e9"
            ) from None
    return counts


def _kept_days(settings: Settings) -> float:
    kept_us = Retention.parse(settings.retention).log_us
    return _TERMS.kept_days if kept_us is None else kept_us / DAY_US


def _costs_view(costs: UnitCosts, path: "Path | None") -> RenderableType:
    table = Table("unit cost", "measured")
    for name, value in msgspec.to_builtins(costs).items():
        if isinstance(value, float):
            table.add_row(name.replace("_", " "), f"{value:,.1f} {'µs' if '_us' in name else 'B'}")
    for entity, cost in costs.states.items():
        table.add_row(f"a state of {entity}", f"{cost.bytes:,.0f} B (of {cost.count:,})")
    return Group(words(f"{costs.source}, {costs.events:,} events; kept in {path}"), table)


def _view(capacity: CapacityPlan, costs: UnitCosts, terms: Terms) -> RenderableType:
    table = Table("what", "needed", "a month", "computed from")
    for need in capacity.needs:
        cost = "" if need.cost is None else f"{need.cost:,.0f}"
        table.add_row(need.name, f"{_number(need.amount)} {need.unit}", cost, need.because)
    table.add_row("all", "", f"{capacity.cost:,.0f}", _prices(terms), style="bold")
    breaks = Table("where it breaks next", "this load fits", "because")
    for limit in capacity.breaks:
        breaks.add_row(
            limit.what,
            f"{limit.times:,.0f} times" if limit.times >= 10 else f"{limit.times:.2g} times",
            limit.because,
            style="red" if limit.times < 1 else "",
        )
    return Group(words(f"unit costs: {costs.source}, {costs.events:,} events"), table, breaks)


def _number(amount: float) -> str:
    return f"{amount:,.0f}" if amount >= 100 or amount == int(amount) else f"{amount:,.1f}"


def _prices(terms: Terms) -> str:
    return (
        f"a core {terms.core_price:g}, a GB of memory {terms.memory_price:g}, of object storage "
        f"{terms.storage_price:g}, of disk {terms.disk_price:g}"
    )
