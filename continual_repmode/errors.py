"""The one exception that means: a person can mend this."""


class UserError(ValueError):
    """A mistake of the caller, told in one line.

    The message names the file or argument, the offending value and the remedy. The
    command line prints it without a traceback and exits with status 2; library users
    may catch it as a :class:`ValueError`.
    """
