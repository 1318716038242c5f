"""The one kind of error that a user can mend."""


class InputError(ValueError):
    """Bad input: one line that names the argument, what was found and what is accepted.

    The command line prints the message alone and exits with code 2.
    """
