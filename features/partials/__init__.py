"""States of single files of the event log, kept beside it by day, so that not all events are read again."""
