"""Whose photograph it is, and where that must be said."""

import pytest

from twfer_dist.core.credit import Credit


@pytest.mark.parametrize("licence", ["CC0", "CC0 1.0", "Public Domain", "public-domain mark; publicdomain", "公有领域"])
def test_free_photographs_need_no_credit(licence: str) -> None:
    assert not Credit("A museum", licence).is_demanded


@pytest.mark.parametrize("licence", ["CC BY 4.0", "CC BY-SA 3.0", "all rights reserved", ""])
def test_others_are_credited_where_they_are_shown(licence: str) -> None:
    assert Credit("A museum", licence).is_demanded and not Credit().is_demanded


def test_only_addresses_of_the_web_are_links() -> None:
    assert Credit(url="https://example.org/a?b=1").link
    for url in ("javascript:alert(1)", "http://a b", 'https://x.org/"onclick="', "file:///etc/passwd", ""):
        assert Credit(url=url).link == ""
