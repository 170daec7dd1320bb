"""Answers that were given, computed again from the event log."""
