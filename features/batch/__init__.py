"""Batch computation of features and states over the whole event log."""
