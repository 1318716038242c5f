"""The one kind of error that a user can mend."""

import sys
from collections.abc import Callable


class InputError(ValueError):
    """Bad input: one line that names the argument, what was found and what is accepted.

    The command line prints the message alone and exits with code 2.
    """


def run_command(main: Callable[[], None]) -> None:
    """Run the command line of a module: bad input is one line on stderr and exit code 2."""
    try:
        main()
    except InputError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
