"""The command line: `python -m bokehlib`."""

from bokehlib.cli.commands import main

__all__ = ["main"]
