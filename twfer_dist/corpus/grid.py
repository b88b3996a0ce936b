"""The cells of a table before its columns are known."""

from dataclasses import dataclass, field


@dataclass
class Grid:
    """The rows of a sheet, or of a text split at one separator, that are not empty."""

    location: str  # the file, and the sheet of a workbook
    rows: list[tuple[int, list[str]]]  # each with the line where it begins
    separator: str = ""  # of a text
    remarks: list[str] = field(default_factory=list)


def strip(text: str) -> str:
    """A value without surrounding blanks, some of which are invisible."""
    return text.strip().strip("\ufeff\u200b").strip()
