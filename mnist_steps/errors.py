"""The one exception for everything a reader can put right.

The command line prints its message as a single clear line and exits with status 2;
any other exception is a bug of ours and keeps its traceback.
"""


class MnistStepsError(Exception):
    """Bad input: the message says what was found, what was expected and what to do."""


class RecordMismatch(MnistStepsError):
    """A committed record is damaged or does not belong to today's code."""
