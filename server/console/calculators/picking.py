"""Selection of a user and a product: from lists, by name, by typing, or from the page's address."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import streamlit as st

from data.errors import DataError
from model.targets import first_target
from server.console.calculators.answers import words_of
from server.console.calculators.asked_pair import AskedPair, asked_pair
from server.console.calculators.scored_pairs import ScoredPairs, scored_regulars
from server.console.formats import plain
from server.console.names import named
from server.console.resources import api_key, busiest, served_targets, settings
from server.console.visit import chosen, keep, kept, link

__all__ = [
    "first_first",
    "link_to_ask",
    "parameter_of",
    "pick_models",
    "pick_named",
    "pick_product",
    "pick_target",
    "pick_user",
    "require_pair",
    "require_regulars",
]


def pick_user() -> str | None:
    """Return the selected user; None if none is selected yet."""
    return pick_named("user_id")


def pick_product() -> str | None:
    """Return the selected product; the list is searched by id and by name."""
    return pick_named("product_id")


def parameter_of(column: str) -> str:
    """Return a key's query parameter in the addresses of pages."""
    return column.removesuffix("_id") if column in {"user_id", "product_id"} else column


def pick_named(column: str) -> str | None:
    """Return the selected value of a key or label that questions of this project name."""
    return _pick(
        words_of(column).capitalize(), parameter_of(column), _busiest_ids(column), lambda value: named(column, value)
    )


def require_pair() -> AskedPair | None:
    """Return the project's pair of keys; None after showing which keys its questions name instead."""
    project = settings().declared
    pair = asked_pair(project)
    if pair is None:
        named = ", ".join(map(words_of, project.schema.asked_keys))
        st.info(
            f"This needs questions of two keys, who and what; those of {project.name} name {named}: see Ask and Batch."
        )
    return pair


def require_regulars(pair: AskedPair, most: int) -> ScoredPairs:
    """Return the scored regulars, at most `most`; none after showing that there are none."""
    regulars = scored_regulars(most)
    if not regulars.pairs:
        st.info(
            f"No {words_of(pair.user_key)} has two {plain(pair.events)} of one {words_of(pair.item_key)} yet: let more "
            "come in, or bring a history (`encore import`)."
        )
    return regulars


def link_to_ask(pair: AskedPair, user: str, item: str) -> None:
    """Show a link to the page that asks about a user and an item."""
    query = {parameter_of(pair.user_key): user, parameter_of(pair.item_key): item}
    link("ask", plain(f"Ask about {user} and {item}"), ":material/help_center:", **query)


def pick_target() -> str | None:
    """Return the selected target; None, the API's first, if it serves only one."""
    targets = served_targets(api_key())
    if len(targets) < 2:
        return None
    before = kept("target")
    picked: str = st.segmented_control(
        "Question",
        targets,
        default=before if before in targets else targets[0],
        required=True,
        format_func=lambda name: name.replace("_", " "),
    )
    keep("target", picked)
    return picked


def pick_models(targets: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the selected one of the API's targets; the last selection is the default."""
    by_name = {target["target"]: target for target in targets}
    return by_name[chosen("target", "Question", first_first(by_name), lambda name: name.replace("_", " "))]


def first_first(targets: Iterable[str]) -> list[str]:
    """Return names of targets by name, but the project's first one first."""
    main = first_target(settings().declared)
    return sorted(targets, key=lambda name: (name != main, name))


def _busiest_ids(column: str) -> list[str]:
    """Return ids in the event log; none if there is no log yet (an id can still be typed)."""
    try:
        return busiest(column)
    except DataError as error:
        st.caption(plain(str(error)))
        return []


def _pick(label: str, parameter: str, options: list[str], label_of: Callable[[str], str]) -> str | None:
    selection = kept(parameter)
    if selection and selection not in options:
        options = [selection, *options]
    index = options.index(selection) if selection else (0 if options else None)
    picked: str | None = st.selectbox(
        label,
        options,
        index=index,
        format_func=label_of,
        accept_new_options=True,
        placeholder="type an id",
        help="The busiest of the event log; any other id can be typed.",
        key=f"pick_{parameter}",
    )
    if picked:
        keep(parameter, picked)
    return picked
