"""What is said where a run is ended by force, and cannot say it itself."""

import atexit
import multiprocessing
import subprocess
import sys

_ENDED = (
    "The run was ended by force: its process, or Ray's on this machine, was killed, perhaps for lack of memory. Run "
    "the same command again: finished work is kept."
)
_SPEAKER = "import sys; sys.stdin.read() or print('twfer:', sys.argv[1], file=sys.stderr)"


def prepare() -> None:
    """Leave a sentence with another process, which says it if this one ends without its Python code being run. Ray's
    core does that to a program, without a word, when Ray's own process on the machine dies.
    """
    if multiprocessing.parent_process():
        return  # a stage beside others: the program that began it speaks
    speaker = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _SPEAKER, _ENDED],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,  # Ctrl-C is for the run alone
    )
    atexit.register(speaker.communicate, "ended by itself")
