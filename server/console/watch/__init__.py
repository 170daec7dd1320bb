"""Calculations for the pages about the running system: rates, history, alerts, rows of messages."""
