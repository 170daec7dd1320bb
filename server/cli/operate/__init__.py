"""Changing a system, and keeping it whole."""
