"""`python -m server.cli`: the `encore` command."""

from server.cli import main

if __name__ == "__main__":
    main()
