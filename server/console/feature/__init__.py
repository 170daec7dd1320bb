"""Calculations about single features: their descriptions, their past, and their uses."""
