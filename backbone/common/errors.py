"""Errors of our own: a mistake of the user, and training that diverges."""


class InputError(ValueError):
    """An input of the user cannot be used.

    The message is one line: what is wrong, where, and what to do about it. Command lines print it
    and exit with code 2; nothing else in the project is reported that way.
    """


class DoesNotFit(InputError):
    """Rows are too long for the backbone, or too few for the demonstrations that are asked for.

    Commands of many runs continue without the run that does not fit.
    """


class NonFiniteLossError(ArithmeticError):
    """The loss or its gradient is not finite; the weights are those before the step."""
