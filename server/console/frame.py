"""What all pages share: a title, a guard that turns errors into messages, and how errors are shown."""

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec

import streamlit as st

from data.errors import EncoreError
from data.printable import printable
from server.console.formats import plain
from server.console.style import FIRES

__all__ = ["facts", "guarded", "heading", "plot", "table", "tabs", "tell"]

logger = logging.getLogger(__name__)

P = ParamSpec("P")


def guarded(draw: Callable[P, None]) -> Callable[P, None]:
    """Decorate a drawing function so that an error is shown as a message; what was drawn before stays."""

    @functools.wraps(draw)
    def guarded_draw(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            draw(*args, **kwargs)
        except EncoreError as error:
            tell(error)
        except Exception:
            # Whatever the error, a visitor gets a sentence; the log has the rest.
            logger.exception("the console could not draw")
            st.error(
                "This part of the page could not be drawn: a bug in the console. Its log says more "
                "(`.encore/run/console.log` under `encore up`).",
                icon=":material/error:",
            )

    return guarded_draw


def tell(error: EncoreError) -> None:
    """Show an error."""
    st.error(plain(str(error)), icon=":material/error:")


def heading(title: str, purpose: str) -> None:
    """Draw the top of a page."""
    st.title(title, anchor=False)
    st.caption(purpose)


def facts(
    values: Mapping[str, str],
    helps: Mapping[str, str] | None = None,
    *,
    changes: Mapping[str, str] | None = None,
    fires: Mapping[str, str] | None = None,
    width: int = 168,
) -> None:
    """Draw a few numbers with their names, and how they changed, side by side as far as there is room.

    `fires` maps each number past its limit to its alert's name, which its red tile shows.
    """
    with st.container(horizontal=True, gap="small"):
        for name, value in values.items():
            options: dict[str, Any] = {"help": (helps or {}).get(name), "border": True, "width": width}
            if alert := (fires or {}).get(name):
                with st.container(key=f"{FIRES}{alert}_{len(name)}", width=width):
                    st.metric(name, plain(value), alert, delta_color="inverse", delta_arrow="off", **options)
            else:
                st.metric(name, plain(value), (changes or {}).get(name), **options)


def plot(figure: Any, key: str) -> None:
    """Draw a figure at full width, without a tool bar that covers it."""
    st.plotly_chart(figure, config={"displayModeBar": False, "responsive": True}, key=key)


def tabs(views: Mapping[str, Callable[[], None]]) -> None:
    """Draw views behind tabs; all are drawn, so that switching needs no request."""
    for tab, draw in zip(st.tabs(list(views)), views.values(), strict=True):
        with tab:
            draw()


def table(
    rows: Sequence[Mapping[str, Any]], *, height: int | None = None, key: str | None = None, bar: str = ""
) -> Mapping[str, Any] | None:
    """Draw rows as a table that can be sorted, searched and downloaded. Column names determine number formats.

    With a key one row can be picked, and is returned. The percentages of the column `bar` are drawn as bars.
    """
    if not rows:
        return None
    formats: dict[str, Any] = {}
    for name in rows[0]:
        if name == bar:
            formats[name] = st.column_config.ProgressColumn(min_value=0, max_value=100, format="%.1f")
        elif "(%)" in name:
            formats[name] = st.column_config.NumberColumn(format="%.1f")
        elif "amount" in name:
            formats[name] = st.column_config.NumberColumn(format="accounting")
        elif "profit" in name:  # which may be below 0: no brackets
            formats[name] = st.column_config.NumberColumn(format="%.2f")
        elif name == "message":
            formats[name] = st.column_config.TextColumn(width="large")
    cells = [{name: printable(cell) if isinstance(cell, str) else cell for name, cell in row.items()} for row in rows]
    look: dict[str, Any] = {"hide_index": True, "column_config": formats, "height": height or "auto"}
    if key is None:
        st.dataframe(cells, **look)
        return None
    picked = st.dataframe(cells, **look, key=key, on_select="rerun", selection_mode="single-row").selection.rows
    return rows[picked[0]] if picked and picked[0] < len(rows) else None
