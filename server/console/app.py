"""The console's frame: pages, navigation and the visitor's key. Streamlit runs this file at every interaction."""

import streamlit as st

from server.console.formats import plain
from server.console.frame import guarded
from server.console.resources import KEY, api_key, callers
from server.console.screens import SCREENS
from server.console.style import apply_style
from server.console.visit import PAGES

__all__ = ["main"]


def main() -> None:
    """Draw the page that the address names."""
    st.set_page_config(page_title="Encore", page_icon="🔁", layout="wide")
    apply_style()
    pages = {
        screen.path: st.Page(guarded(screen.draw), title=screen.title, icon=screen.icon, url_path=screen.path)
        for screen in SCREENS
    }
    st.session_state[PAGES] = pages
    # Streamlit's own list of sections is no list to a screen reader: its items lie in no list element.
    page = st.navigation(list(pages.values()), position="hidden")
    with st.sidebar:
        for section in dict.fromkeys(screen.section for screen in SCREENS):
            with st.container(gap="xsmall"):
                st.caption(section)
                for screen in SCREENS:
                    if screen.section == section:
                        st.page_link(pages[screen.path], width="stretch")
        st.text_input(
            "API key or token",
            key=KEY,
            type="password",
            placeholder="only where the API asks for one",
            help="Kept until this tab is reloaded or closed. A key with the role `operate` is needed to promote, roll "
            "back and retrain: where no keys are set, the one in the home's file `run/admin.key`.",
        )
    if reason := _refusal():
        st.title(page.title)
        st.error(f"{reason}; give one at the left", icon=":material/error:")
    else:
        page.run()


def _refusal() -> str:
    """Return why nothing is shown, if so: pages read Redis and the log themselves, past the API's check of keys."""
    return plain(callers().refusal_now(api_key().encode(), "read"))


if __name__ == "__main__":
    main()
