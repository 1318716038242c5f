"""`python -m bokehlib`."""

import sys

from bokehlib.cli import main

if __name__ == "__main__":
    sys.exit(main())
