"""Backing up and restoring a home."""
