"""What the console's pages show, worked out apart from how it is drawn."""
