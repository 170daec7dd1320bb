"""Backups of a home, and homes from backups."""
