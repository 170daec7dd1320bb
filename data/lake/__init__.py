"""The event log as a table of other engines."""
