"""Recomputation of past answers from the event log."""
