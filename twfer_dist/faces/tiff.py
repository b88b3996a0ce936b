"""The largest page of a TIFF file, with only the tags that its pixels need."""

import struct
from dataclasses import dataclass

_SUBFILE, _WIDTH, _HEIGHT, _BITS, _WHITE, ORIENTATION, _SAMPLES = 254, 256, 257, 258, 262, 274, 277
_PIXELS = {
    256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323, 324, 325, 332, 338, 339, 347,
    512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532, 50674,
}  # fmt: skip
"""Tags without which a page cannot be decoded: its size, layout, compression and colour space."""

_PREVIEW, _MASK = 1, 4  # bits of _SUBFILE
_MAX_PAGES, _MAX_TAGS = 1000, 500
INTEGERS = {1: "B", 6: "b", 3: "H", 8: "h", 4: "I", 9: "i", 16: "Q"}  # struct codes of TIFF's integer types

_Tags = dict[int, tuple[int, int, int]]  # tag -> offset of its entry, its type, its first value


@dataclass(frozen=True)
class Page:
    """One page as a separate file."""

    data: bytes
    number: int  # from 0, of `count`
    count: int
    orientation: int
    is_preview: bool  # of an image that is stored in another way, as raw photographs are
    bits: int  # per value
    white_is_zero: bool  # in grey of more than 8 bits, where decoders assume that black is


def largest_page(data: bytes) -> Page:
    """The page with the most pixels, the first of equals. struct.error, KeyError or ValueError on a damaged file."""
    file = _File(data)
    pages = file.pages()
    number = max(range(len(pages)), key=lambda k: _pixels(pages[k][1]))
    offset, tags = pages[number]
    bits = _value(tags, _BITS, 1)
    negative = bits in (12, 16) and _value(tags, _SAMPLES, 1) == 1 and _value(tags, _WHITE, 0) == 0
    preview = bool(_value(tags, _SUBFILE, 0) & _PREVIEW)
    return Page(
        file.alone(offset, tags, negative), number, len(pages), _value(tags, ORIENTATION, 1), preview, bits, negative
    )


def _value(tags: _Tags, tag: int, default: int) -> int:
    return tags[tag][2] if tag in tags else default


def _pixels(tags: _Tags) -> int:
    return 0 if _value(tags, _SUBFILE, 0) & _MASK else _value(tags, _WIDTH, 0) * _value(tags, _HEIGHT, 0)


class _File:
    """The directories of a TIFF or BigTIFF file."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.order = {b"II": "<", b"MM": ">"}[data[:2]]
        big = struct.unpack_from(self.order + "H", data, 2) == (43,)
        self.counted, self.field, self.first = ("Q", "Q", 8) if big else ("H", "I", 4)
        self.wide = struct.calcsize(self.field)
        self.entry_size = 4 + 2 * self.wide

    def _read(self, code: str, offset: int) -> int:
        return struct.unpack_from(self.order + code, self.data, offset)[0]

    def pages(self) -> list[tuple[int, _Tags]]:
        """The offset of each page's directory and its tags, up to the first damaged one."""
        pages: dict[int, _Tags] = {}
        offset = self._read(self.field, self.first)
        while offset and offset not in pages and len(pages) < _MAX_PAGES:
            try:
                pages[offset], offset = self._page(offset)
            except struct.error:
                break
        return list(pages.items())

    def _page(self, offset: int) -> tuple[_Tags, int]:
        """The tags of the page whose directory is at `offset`, and the offset of the next directory."""
        count = self._read(self.counted, offset)
        if count > _MAX_TAGS:
            raise struct.error("too many tags")
        start = offset + struct.calcsize(self.counted)
        tags: _Tags = {}
        for entry in range(start, start + count * self.entry_size, self.entry_size):
            tag, kind = self._read("H", entry), self._read("H", entry + 2)
            tags.setdefault(tag, (entry, kind, self._first_value(entry, kind)))
        return tags, self._read(self.field, start + count * self.entry_size)

    def _first_value(self, entry: int, kind: int) -> int:
        """The first value of an entry; 0 where it is not an integer or lies outside the file."""
        code, values, offset = INTEGERS.get(kind), self._read(self.field, entry + 4), entry + 4 + self.wide
        if code is None or not values:
            return 0
        if values * struct.calcsize(code) > self.wide:
            offset = self._read(self.field, offset)
        return self._read(code, offset) if offset + struct.calcsize(code) <= len(self.data) else 0

    def alone(self, offset: int, tags: _Tags, negative: bool) -> bytes:
        """The file with only the page at `offset` and the tags of its pixels. negative: declare zero as black."""
        entries = []
        for tag, (entry, kind, _) in tags.items():
            if tag in _PIXELS:
                entries.append(self.data[entry : entry + self.entry_size])
                if negative and tag == _WHITE:
                    entries[-1] = entries[-1][: 4 + self.wide] + struct.pack(self.order + INTEGERS[kind], 1).ljust(
                        self.wide, b"\0"
                    )
        directory = struct.pack(self.order + self.counted, len(entries)) + b"".join(entries) + bytes(self.wide)
        start = struct.pack(self.order + self.field, offset)
        view = memoryview(self.data)  # scans are large: they are copied once
        end = offset + len(directory)  # never longer than the directory that it replaces
        return b"".join([view[: self.first], start, view[self.first + self.wide : offset], directory, view[end:]])
