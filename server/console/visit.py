"""The visitor's selection (user, product, model), kept across pages: in the address, else in the session."""

from collections.abc import Callable
from typing import Any

import streamlit as st

__all__ = ["PAGES", "chosen", "keep", "kept", "link"]

PAGES = "pages"
"""The entry of a session that holds the pages of the navigation by path."""


def kept(name: str) -> str | None:
    """Return the last selection of this name; the address precedes the session."""
    selection: str | None = st.query_params.get(name) or st.session_state.get(_entry(name))
    return selection


def keep(name: str, value: str) -> None:
    """Remember a selection: other pages start with it, and this page's address shows it."""
    st.session_state[_entry(name)] = value
    if st.query_params.get(name) != value:
        st.query_params[name] = value


def link(path: str, label: str, icon: str | None = None, **query: str) -> None:
    """Draw a link to another page, with the same selection; nothing if a page is drawn alone."""
    pages: dict[str, Any] = st.session_state.get(PAGES, {})
    if path in pages:
        st.page_link(pages[path], label=label, icon=icon, query_params=query or None)


def chosen(key: str, label: str, options: list[str], label_of: Callable[[str], str]) -> str:
    """Return the option selected in a box; the last selection is the default."""
    before = kept(key)
    index = options.index(before) if before in options else 0
    picked: str = st.selectbox(label, options, index, format_func=label_of, key=f"chosen_{key}")
    keep(key, picked)
    return picked


def _entry(name: str) -> str:
    return f"kept:{name}"
