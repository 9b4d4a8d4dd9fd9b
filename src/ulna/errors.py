"""The one error that a user can mend."""


class InputError(ValueError):
    """Bad input: a file, a parameter or a data set that breaks a stated rule.

    The message is one sentence (or a short list) that names the file and line or the key, what was
    expected, what came, and what to do. Stages print it without a traceback and exit with code 1.
    """
