"""Every status is declared once, and the transient ones are those that a retry may change."""

from twfer_dist.core import status


def test_every_constant_is_declared() -> None:
    constants = {value for name, value in vars(status).items() if name.isupper() and isinstance(value, str)}
    assert constants == set(status.STATUSES)


def test_transient_statuses_describe_circumstances() -> None:
    assert set(status.TRANSIENT) == {status.UNREACHABLE, status.MISSING, status.UNREADABLE, status.KILLED}
