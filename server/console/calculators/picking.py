"""Selection of a user and a product: from lists, by name, by typing, or from the page's address."""

from collections.abc import Callable

import streamlit as st

from data.errors import DataError
from server.console.calculators.answers import words_of
from server.console.calculators.asked_pair import AskedPair, asked_pair
from server.console.formats import plain
from server.console.resources import api_key, busiest, product_names, served_targets, settings

__all__ = ["pick_named", "pick_product", "pick_target", "pick_user", "require_pair"]


def pick_user() -> str | None:
    """Return the selected user; None where none is selected yet."""
    return _pick("User", "user", _known("user_id"), lambda user: user)


def pick_product() -> str | None:
    """Return the selected product; the list is searched by id and by name."""
    names = product_names()
    return _pick(
        "Product",
        "product",
        _known("product_id"),
        lambda product: f"{names[product]} · {product}" if product in names else product,
    )


def pick_named(column: str) -> str | None:
    """Return the selected value of a key or label that questions of this project name."""
    return _pick(words_of(column).capitalize(), column, _known(column), lambda value: value)


def require_pair() -> AskedPair | None:
    """Return whom and what this project's questions are of; where they name no two, say what they name."""
    project = settings().declared
    pair = asked_pair(project)
    if pair is None:
        named = ", ".join(map(words_of, project.schema.asked_keys))
        st.info(
            f"This needs questions of two keys, who and what; those of {project.name} name {named}: see Ask and Batch."
        )
    return pair


def pick_target() -> str | None:
    """Return the selected target; None, the API's first, where it serves only one."""
    targets = served_targets(api_key())
    if len(targets) < 2:
        return None
    return st.segmented_control(
        "Question", targets, default=targets[0], required=True, format_func=lambda name: name.replace("_", " ")
    )


def _known(column: str) -> list[str]:
    """Return ids in the event log; none where there is no log yet (an id can still be typed)."""
    try:
        return busiest(column)
    except DataError as error:
        st.caption(plain(str(error)))
        return []


def _pick(label: str, parameter: str, options: list[str], shown: Callable[[str], str]) -> str | None:
    asked = st.query_params.get(parameter)
    if asked and asked not in options:
        options = [asked, *options]
    index = options.index(asked) if asked else (0 if options else None)
    picked: str | None = st.selectbox(
        label,
        options,
        index=index,
        format_func=shown,
        accept_new_options=True,
        placeholder="type an id",
        help="The busiest of the event log; any other id can be typed.",
        key=f"pick_{parameter}",
    )
    if picked:
        st.query_params[parameter] = picked
    return picked
