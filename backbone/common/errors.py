"""The error that reports a user's mistake rather than a bug."""


class InputError(ValueError):
    """Something given by the user cannot be used.

    The message is one line: what is wrong, where, and what to do about it. Command lines print it
    and exit with code 2; nothing else in the project is reported that way.
    """


class DoesNotFit(InputError):
    """Rows are too long for the backbone, or too few for the demonstrations that are asked for.

    Many runs go on without the one that does not fit.
    """
