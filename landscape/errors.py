"""The two mistakes a user can make, told apart so that the command line can exit with the right code.

Both are ``ValueError``: a caller who does not care catches that. The text is written for the reader at
2 a.m.: what, the value seen, why, and what to type instead.
"""


class UsageError(ValueError):
    """A name, option or number that was asked for does not exist or is not allowed (exit code 2)."""


class InputError(ValueError):
    """A file, model or data set cannot be used, or they do not fit together (exit code 3)."""
