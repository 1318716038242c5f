"""The one kind of error that a user can mend, and command lines that end with it."""

import argparse
import math
import sys
from collections.abc import Callable
from typing import NoReturn


class InputError(ValueError):
    """Bad input: one line that names the argument, what was found and what is accepted.

    The command line prints the message alone and exits with code 2.
    """


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose complaints are one line that ends with what is accepted."""

    accepted = ""  # by default the usage

    def error(self, message: str) -> NoReturn:
        """Raise an InputError instead of printing usage."""
        accepted = self.accepted or " ".join(self.format_usage().split()[2:])
        raise InputError(message if "accepted" in message else f"{message}; accepted: {accepted}")


def number(text: str, argument: str, accepted: str, low: float, high: float = math.inf) -> float:
    """A finite number from `low` to `high`.

    Raises:
        InputError: The text is none.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and low <= value <= high):
        raise InputError(f"{argument}: found {text!r}; accepted: {accepted}")
    return value


def run_command(command: Callable[[], int | None]) -> int:
    """Run a command of the command line.

    Returns:
        Its exit code (0 for None); 2 for bad input and 130 for Ctrl-C, with one line on stderr.
    """
    try:
        return command() or 0
    except InputError as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
