"""Retention of data, its size and its growth."""
