"""CSS beyond Streamlit's theme: red tiles of alerts, a result that stays in view, readable captions."""

import streamlit as st

__all__ = ["FIRES", "IN_VIEW", "apply_style"]

FIRES = "fires_"
"""Prefix of the keys of containers whose tile is red."""

IN_VIEW = "in_view"
"""The key of a container whose first part stays in view while the rest is scrolled."""

_RULES = f"""
<style>
[class*="st-key-{FIRES}"] [data-testid="stMetric"] {{
  border: 2px solid #C62828; background: color-mix(in srgb, #C62828 12%, transparent);
}}
[data-testid="stCaptionContainer"] {{ color: inherit; opacity: 0.85; }}
[data-testid="stCaptionContainer"] p {{ color: inherit; }}
.st-key-{IN_VIEW} > :first-child {{
  position: sticky; top: 3.5rem; z-index: 9; background: var(--st-background-color, Canvas);
}}
</style>
"""


def apply_style() -> None:
    """Insert the rules into the page. They contain no external text."""
    st.html(_RULES)
