"""Exporting and deleting the data of one person."""
