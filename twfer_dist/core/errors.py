"""The one error that users see."""


class UserError(Exception):
    """Something the user can mend: one sentence that names the place, the fault and the remedy.

    The command line prints the sentence and exits with code 2. Any other exception is our own bug and
    shows its traceback.
    """
