"""Where the parts meet: the settings, the API, the `encore` command, and what one machine runs."""
