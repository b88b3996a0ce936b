"""What of a picture file makes its pixels, and which way up they are.

Texts, colour profiles, previews and all of EXIF but the orientation are taken out before a decoder sees the file: a
fault in them, or their size, is no fault of the picture.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from twfer_dist.faces import tiff

_PNG_PIXELS = {b"IHDR", b"PLTE", b"IDAT", b"IEND"}
_SCAN = 0xDA  # the marker before the pixels of a JPEG
_FRAMES = (0xC0, 0xC1, 0xC2, 0xC9, 0xCA)  # those before its size and components


@dataclass(frozen=True)
class Content:
    """A picture file without what does not make its pixels."""

    data: bytes
    orientation: int = 1  # 1 to 8, as EXIF counts them
    count: int = 1  # pages or frames in the file
    largest: bool = False  # the page that is left is not the first but the largest
    is_preview: bool = False  # it is smaller than the picture, which is kept in a way that is not read here
    bits: int = 16  # of grey values with more than 8
    white_is_zero: bool = False  # where the decoder does not see to it


def content(kind: str, data: bytes) -> Content:
    """What makes the pixels of a file of format `kind`; the file as it is where it cannot be taken apart."""
    take_apart = {"JPEG": _jpeg, "PNG": _png, "TIFF": _tiff, "AVIF": _without_exif, "HEIF": _without_exif}.get(
        kind, Content
    )
    try:
        return take_apart(data)
    except (struct.error, IndexError, ValueError, KeyError):
        return Content(data)


def orientation(exif: bytes) -> int:
    """Which way up EXIF says that the picture is, 1 to 8; 1, upright, where it does not say so properly."""
    while exif.startswith(b"Exif\0\0"):
        exif = exif[6:]
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return 1
    try:
        (place,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, place)
        for entry in range(place + 2, place + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(order + "HH", exif, entry)
            if tag == tiff.ORIENTATION:
                (value,) = struct.unpack_from(order + tiff.INTEGERS[kind], exif, entry + 8)
                return value if 1 <= value <= 8 else 1
    except (struct.error, KeyError):
        pass
    return 1


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, memoryview]]:
    """The marker and the bytes of each segment before the pixels; the last one is all the rest."""
    whole = memoryview(data)  # scans are large: they are copied once
    place = 2
    while True:
        if data[place] != 0xFF:
            raise ValueError("no marker")
        while data[place + 1] == 0xFF:
            place += 1
        marker = data[place + 1]
        if marker == _SCAN:
            yield marker, whole[place:]
            return
        length = 0 if marker == 0x01 or 0xD0 <= marker <= 0xD8 else struct.unpack_from(">H", data, place + 2)[0]
        yield marker, whole[place : place + 2 + length]
        place += 2 + length


def _jpeg(data: bytes) -> Content:
    """Without APP and COM segments, but for those that tell the colours: JFIF's and Adobe's."""
    kept, exif = [memoryview(data)[:2]], b""
    for marker, segment in _jpeg_segments(data):
        body = b"" if marker == _SCAN else bytes(segment[4:])
        if marker == 0xE1 and body.startswith(b"Exif\0\0"):
            exif += body[6:] if exif else body
        tells_colours = (body.startswith(b"JFIF\0") and len(body) >= 14) or (
            body.startswith(b"Adobe") and len(body) >= 12
        )
        if tells_colours or not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            kept.append(segment)
    return Content(b"".join(kept), orientation(exif))


def without_end(data: bytes) -> tuple[bytes, bytes] | None:
    """A JPEG whose end is missing, ended in two ways; None where scans are missing too. Where all pixels are there,
    both decode to the same: what follows the last of them is passed over. Where some are missing, they are filled from
    what follows, which is different.
    """
    body = data.rstrip(b"\xff")
    try:
        if not _has_all_scans(body):
            return None
    except (struct.error, IndexError, ValueError):
        return None
    restarts = len(re.findall(rb"\xff[\xd0-\xd7]", body[body.rfind(b"\xff\xda") :]))
    noise = b"".join(b"\x9b\x36\xd5\x6a" * 8 + bytes([0xFF, 0xD0 + (restarts + k) % 8]) for k in range(16))
    return body + b"\xff\xd9", body + noise + b"\xff\xd9"


def _has_all_scans(data: bytes) -> bool:
    """Whether scans of a JPEG give every coefficient of every component to its last bit."""
    missing: set[tuple[int, int]] = set()
    rest = memoryview(b"")
    for marker, segment in _jpeg_segments(data):
        rest = segment
        if marker in _FRAMES:
            missing = {(component, k) for component in segment[10 : 10 + 3 * segment[9] : 3] for k in range(64)}
    for found in re.finditer(rb"\xff\xda", rest):
        count = rest[found.end() + 2]
        components = rest[found.end() + 3 : found.end() + 3 + 2 * count : 2]
        first, last, bits = rest[found.end() + 3 + 2 * count : found.end() + 6 + 2 * count]
        if bits & 15 == 0:
            missing -= {(component, k) for component in components for k in range(first, last + 1)}
    return not missing


def _png(data: bytes) -> Content:
    """The chunks of the default image, and transparency where its chunk is whole."""
    whole = memoryview(data)
    kept, place, exif, count, kind = [whole[:8]], 8, b"", 1, b""
    while kind != b"IEND" and place + 8 <= len(data):
        (length,), kind = struct.unpack_from(">I", data, place), data[place + 4 : place + 8]
        end = place + 12 + length
        if end > len(data) or not kind.isalpha():
            kept.append(whole[place:])  # cut off: the decoder sees whether pixels are missing
            break
        body = b"" if kind in _PNG_PIXELS else data[place + 8 : end - 4]
        if kind in _PNG_PIXELS or (kind == b"tRNS" and _is_sound(data[8:33], kind, body, data[end - 4 : end])):
            kept.append(whole[place:end])
        elif kind == b"eXIf":
            exif = body
        elif kind in (b"tEXt", b"zTXt") and body.startswith((b"Raw profile type exif\0", b"Raw profile type APP1\0")):
            exif = exif or _raw_profile(body, kind == b"zTXt")
        elif kind == b"acTL" and length == 8:
            (count,) = struct.unpack(">I", body[:4])
        place = end
    return Content(b"".join(kept), orientation(exif), max(count, 1))


def _is_sound(header: bytes, kind: bytes, body: bytes, checksum: bytes) -> bool:
    fits = {0: len(body) == 2, 2: len(body) == 6, 3: 1 <= len(body) <= 256}.get(header[17], False)
    return fits and zlib.crc32(kind + body).to_bytes(4, "big") == checksum


def _raw_profile(body: bytes, compressed: bool) -> bytes:
    """EXIF as ImageMagick writes it into a text of a PNG."""
    text = body.partition(b"\0")[2]
    try:
        if compressed:
            text = zlib.decompressobj().decompress(text[1:], 1 << 18)
        return bytes.fromhex(b"".join(text.split(b"\n")[3:]).decode("ascii"))
    except (zlib.error, ValueError):
        return b""


def _tiff(data: bytes) -> Content:
    found = tiff.largest_page(data)
    turned = found.orientation if 1 <= found.orientation <= 8 else 1
    return Content(found.data, turned, found.count, found.number > 0, found.is_preview, found.bits, found.white_is_zero)


def _without_exif(data: bytes) -> Content:
    """HEIF and AVIF hold their orientation beside EXIF, and their decoders follow it."""
    return Content(re.sub(rb"(infe[\x02\x03][\x00-\xff]{7,9}?)Exif", rb"\1none", data))


def jxl_size(data: bytes) -> tuple[int, int]:
    """Width and height of a JPEG XL picture, from its header: its decoder has no other way to tell them than to decode
    it.
    """
    if not data.startswith(b"\xff\x0a"):
        data = _jxl_stream(data)
    word = int.from_bytes(data[2:16], "little")

    def take(bits: int) -> int:
        nonlocal word
        taken, word = word & ((1 << bits) - 1), word >> bits
        return taken

    def side() -> int:
        return 8 * (1 + take(5)) if small else 1 + take((9, 13, 18, 30)[take(2)])

    small = bool(take(1))
    height = side()
    ratio = take(3)
    up, down = ((0, 1), (1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))[ratio]
    return (height * up // down if ratio else side()), height


def _jxl_stream(data: bytes) -> bytes:
    """The picture in a JPEG XL container, from its first byte on."""
    place = 0
    while place < len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        head = 8
        if length == 1:
            (length,), head = struct.unpack_from(">Q", data, place + 8), 16
        if kind in (b"jxlc", b"jxlp"):
            return data[place + head + (4 if kind == b"jxlp" else 0) :][:64]
        place += max(length, head)
    raise ValueError("it holds no picture")
