"""The console's pages, in the order of the navigation: for the shop's staff, model developers, operators."""

from collections.abc import Callable
from typing import NamedTuple

from server.console.screens.models import feature, model, quality, version
from server.console.screens.shop import ask, batch, decide, overview, shoppers
from server.console.screens.system import alerts, live, past, topics

__all__ = ["SCREENS", "Screen"]


class Screen(NamedTuple):
    """One page: its entry in the navigation, and the function that draws it."""

    section: str
    path: str
    title: str
    icon: str
    draw: Callable[[], None]


SCREENS = (
    Screen("Shop", "overview", "Overview", ":material/storefront:", overview.page),
    Screen("Shop", "shoppers", "Regulars", ":material/group:", shoppers.page),
    Screen("Shop", "ask", "Ask", ":material/help_center:", ask.page),
    Screen("Shop", "batch", "Batch", ":material/table_rows:", batch.page),
    Screen("Shop", "decide", "Decide", ":material/balance:", decide.page),
    Screen("Models", "model", "Model", ":material/model_training:", model.page),
    Screen("Models", "version", "Version", ":material/history_edu:", version.page),
    Screen("Models", "feature", "Feature", ":material/functions:", feature.page),
    Screen("Models", "quality", "Quality", ":material/fact_check:", quality.page),
    Screen("System", "live", "Live", ":material/monitoring:", live.page),
    Screen("System", "past", "Past", ":material/timeline:", past.page),
    Screen("System", "alerts", "Alerts", ":material/notifications:", alerts.page),
    Screen("System", "topics", "Topics", ":material/stacks:", topics.page),
)
