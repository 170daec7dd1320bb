"""The console's frame: pages, navigation and the visitor's key. Streamlit runs this file at every interaction."""

import streamlit as st

from server.api_keys import find_key
from server.console.frame import guarded
from server.console.resources import KEY, api_key, settings
from server.console.screens import SCREENS

__all__ = ["main"]


def main() -> None:
    """Draw the page of the address."""
    st.set_page_config(page_title="Encore", page_icon="🔁", layout="wide")
    sections = {
        section: [
            st.Page(guarded(screen.draw), title=screen.title, icon=screen.icon, url_path=screen.path)
            for screen in SCREENS
            if screen.section == section
        ]
        for section in dict.fromkeys(screen.section for screen in SCREENS)
    }
    page = st.navigation(sections)
    with st.sidebar:
        st.text_input(
            "API key",
            key=KEY,
            type="password",
            placeholder="only where the API asks for one",
            help="Kept until this tab is reloaded or closed. An admin key is needed to promote, roll back and retrain: "
            "where no keys are set, the one in the home's file `run/admin.key`.",
        )
    if _may_look():
        page.run()
    else:
        st.title(page.title)
        st.error("a valid API key is needed; give one at the left", icon=":material/error:")


def _may_look() -> bool:
    """Pages read Redis and the log themselves, not only through the API, which requires a key."""
    keys = settings().keys
    return not keys or find_key(keys, api_key().encode()) is not None


if __name__ == "__main__":
    main()
