"""Commands about a home as a whole: its audit log, its backups."""
