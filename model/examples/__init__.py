"""Examples to learn from and to judge on: which, at what time, with what answer."""
