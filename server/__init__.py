"""The server: settings, the API, the console, the `encore` command, and the processes of one machine."""
