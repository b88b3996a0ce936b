"""Every status that the engine knows, who sets it, and whether it may pass."""

OK = "ok"
"""The status of a row that holds a result. Any other status names why there is none; `error` says it in a sentence."""


KILLED = "killed"
"""The status of a row that ends the process which works on it, in any stage."""


TRANSIENT = ("unreachable", "missing", "unreadable", KILLED)
"""The statuses of rows that may come out otherwise when they are done again; every other one says what the row is
like.
"""
