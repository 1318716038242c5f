"""The one kind of error that a user can mend."""

import sys
from collections.abc import Callable


class InputError(ValueError):
    """Bad input: one line that names the argument, what was found and what is accepted.

    The command line prints the message alone and exits with code 2.
    """


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
