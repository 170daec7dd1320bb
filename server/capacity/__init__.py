"""Capacity planning: measured unit costs, and the arithmetic from a load to machines and money."""
