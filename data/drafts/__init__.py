"""Drafts of what a shop declares, made from a sample of its events: for a person to correct."""
