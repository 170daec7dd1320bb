"""The console's frame: pages, navigation and the visitor's key. Streamlit runs this file at every interaction."""

from typing import Any

import streamlit as st

from server.console.formats import plain
from server.console.frame import guarded
from server.console.resources import KEY, api_key, callers
from server.console.screens import SCREENS
from server.console.style import apply_style
from server.console.visit import PAGES

__all__ = ["main"]


def main() -> None:
    """Draw the page of the address."""
    st.set_page_config(page_title="Encore", page_icon="🔁", layout="wide")
    apply_style()
    pages = {
        screen.path: st.Page(guarded(screen.draw), title=screen.title, icon=screen.icon, url_path=screen.path)
        for screen in SCREENS
    }
    st.session_state[PAGES] = pages
    sections: dict[str, list[Any]] = {}
    for screen in SCREENS:
        sections.setdefault(screen.section, []).append(pages[screen.path])
    page = st.navigation(sections)
    with st.sidebar:
        st.text_input(
            "API key or token",
            key=KEY,
            type="password",
            placeholder="only where the API asks for one",
            help="Kept until this tab is reloaded or closed. A key with the role `operate` is needed to promote, roll "
            "back and retrain: where no keys are set, the one in the home's file `run/admin.key`.",
        )
    if why := _refusal():
        st.title(page.title)
        st.error(f"{why}; give one at the left", icon=":material/error:")
    else:
        page.run()


def _refusal() -> str:
    """Why nothing is shown, if so: pages read Redis and the log themselves, not only through the API and its keys."""
    return plain(callers().refusal_now(api_key().encode(), "read"))


if __name__ == "__main__":
    main()
