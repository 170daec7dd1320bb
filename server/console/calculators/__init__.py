"""The data that the console's pages show, computed separately from drawing."""
