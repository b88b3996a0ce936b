"""Whose photograph it is: what a corpus says about its photographer, licence and source."""

import re
from dataclasses import dataclass

_FREE = re.compile(r"\bcc ?-?0\b|public domain|\bpdm?\b|publicdomain|zero/1\.0|公有领域|公有領域", re.IGNORECASE)


@dataclass(frozen=True)
class Credit:
    """What is known about the rights in a photograph, in the words of its manifest; unknown is empty."""

    credit: str = ""  # the photographer, or the credit line that the owner asks for
    licence: str = ""
    source: str = ""  # the book, collection or site that it is taken from
    url: str = ""

    def __bool__(self) -> bool:
        return any((self.credit, self.licence, self.source, self.url))

    @property
    def is_demanded(self) -> bool:
        """Whether the photograph is to be credited where it is shown: unless its licence says that it is free."""
        return bool(self) and not _FREE.search(self.licence)

    @property
    def line(self) -> str:
        """The whole credit line."""
        return ", ".join(word for word in (self.credit, self.source, self.licence) if word)

    @property
    def short(self) -> str:
        """What is printed below a picture: whose it is, and the licence."""
        return ", ".join(word for word in (self.credit or self.source or self.url, self.licence) if word)

    @property
    def link(self) -> str:
        """The address as a link that a page may hold; empty where it is none of the web."""
        return self.url if re.fullmatch(r"https?://[^\s<>\"']+", self.url, re.IGNORECASE) else ""
