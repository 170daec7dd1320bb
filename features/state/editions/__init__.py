"""The editions of a project's states: the live one, and beside it, while definitions change, another."""
