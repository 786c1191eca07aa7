"""The error that means: the input was wrong, and here is what to do."""


class InputError(ValueError):
    """What a user gave cannot be used.

    Its message is one sentence or two that say what came, what was expected and what to do. The
    command line prints it as it is and exits with 2.
    """
