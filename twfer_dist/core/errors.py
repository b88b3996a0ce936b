"""The one error that users see."""


class UserError(Exception):
    """An error that the user can fix: one sentence that names the file or setting, the fault and the remedy.

    The command line prints the sentence and exits with code 2. Any other exception is a bug and shows its traceback.
    """
