"""What a visitor looks at (user, product, model), kept from page to page: in the address, else in the session."""

from collections.abc import Callable
from typing import Any

import streamlit as st

__all__ = ["PAGES", "chosen", "keep", "kept", "link"]

PAGES = "pages"
"""The entry of a session that holds the pages of the navigation by path."""


def kept(name: str) -> str | None:
    """Return what was picked last of this name, the page's address first."""
    found: str | None = st.query_params.get(name) or st.session_state.get(_entry(name))
    return found


def keep(name: str, value: str) -> None:
    """Remember what is picked: other pages begin with it, and the address of this one says it."""
    st.session_state[_entry(name)] = value
    if st.query_params.get(name) != value:
        st.query_params[name] = value


def link(path: str, label: str, icon: str | None = None, **query: str) -> None:
    """Draw a link to another page, about the same things; nothing where a page is drawn alone."""
    pages: dict[str, Any] = st.session_state.get(PAGES, {})
    if path in pages:
        st.page_link(pages[path], label=label, icon=icon, query_params=query or None)


def chosen(key: str, label: str, options: list[str], words: Callable[[str], str]) -> str:
    """Return the option that is picked in a box; the one that was picked last is picked first."""
    before = kept(key)
    place = options.index(before) if before in options else 0
    picked: str = st.selectbox(label, options, place, format_func=words, key=f"chosen_{key}")
    keep(key, picked)
    return picked


def _entry(name: str) -> str:
    return f"kept:{name}"
