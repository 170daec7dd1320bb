"""`python -m events.producer`: the producer."""

import sys

from events.producer.produce import main

if __name__ == "__main__":
    sys.exit(main())
