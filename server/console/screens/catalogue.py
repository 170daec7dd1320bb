"""The pages, in the order of the navigation."""

from collections.abc import Callable
from typing import NamedTuple

from server.console.screens import ask, batch, decide, live, model, quality, shoppers, topics

__all__ = ["SCREENS", "Screen"]


class Screen(NamedTuple):
    """One page: its place in the navigation, and the function that draws it."""

    section: str
    path: str
    title: str
    icon: str
    draw: Callable[[], None]


SCREENS = (
    Screen("Watch", "live", "Live", ":material/monitoring:", live.page),
    Screen("Watch", "topics", "Topics", ":material/stacks:", topics.page),
    Screen("Ask", "ask", "Ask", ":material/help_center:", ask.page),
    Screen("Ask", "batch", "Batch", ":material/table_rows:", batch.page),
    Screen("Trust", "model", "Model", ":material/model_training:", model.page),
    Screen("Trust", "quality", "Quality", ":material/fact_check:", quality.page),
    Screen("Act", "shoppers", "Regulars", ":material/group:", shoppers.page),
    Screen("Act", "decide", "Decide", ":material/balance:", decide.page),
)
