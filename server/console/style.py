"""What the theme cannot say: tiles that an alert turns red, a result that stays in view, captions that can be read."""

import streamlit as st

__all__ = ["FIRES", "IN_VIEW", "apply_style"]

FIRES = "fires_"
"""What the keys of containers begin with whose tile is red."""

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
    """Put the rules into the page. They are this file's own: nothing from outside is in them."""
    st.html(_RULES)
