"""The errors that a user can do something about."""


class InputError(ValueError):
    """What a user gave cannot be used.

    Its message is one sentence or two that say what came, what was expected and what to do. The
    command line prints it as it is and exits with 2.
    """


class WorkerLostError(RuntimeError):
    """Another worker of the job has ended, so that this one cannot go on."""
