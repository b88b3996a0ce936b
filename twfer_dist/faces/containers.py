"""The parts of an image file that make its pixels, and its orientation.

Texts, colour profiles, previews and all EXIF but the orientation are removed before a decoder sees the file, so that
neither damage in them nor their size makes an image unreadable.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from twfer_dist.faces import tiff

_PNG_PIXELS = {b"IHDR", b"PLTE", b"IDAT", b"IEND"}
_SCAN = 0xDA  # the JPEG marker before the pixels
_FRAMES = (0xC0, 0xC1, 0xC2, 0xC9, 0xCA)  # the JPEG markers before size and components


@dataclass(frozen=True)
class Content:
    """An image file reduced to what makes its pixels."""

    data: bytes
    orientation: int = 1  # EXIF's, 1 to 8
    count: int = 1  # pages or frames in the file
    largest: bool = False  # the page that is kept is the largest and not the first
    is_preview: bool = False  # of an image that is stored in a way that is not read here
    bits: int = 16  # of grey values with more than 8
    white_is_zero: bool = False  # and the decoder ignores it


def content(kind: str, data: bytes) -> Content:
    """A file of format `kind` reduced to its pixels; the unchanged file where it cannot be parsed."""
    parse = {"JPEG": _jpeg, "PNG": _png, "TIFF": _tiff, "AVIF": _without_exif, "HEIF": _without_exif}.get(kind, Content)
    try:
        return parse(data)
    except (struct.error, IndexError, ValueError, KeyError):
        return Content(data)


def orientation(exif: bytes) -> int:
    """The EXIF orientation, 1 to 8; 1 (upright) where it is absent or malformed."""
    while exif.startswith(b"Exif\0\0"):
        exif = exif[6:]
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(order + "HH", exif, entry)
            if tag == tiff.ORIENTATION:
                (value,) = struct.unpack_from(order + tiff.INTEGERS[kind], exif, entry + 8)
                return value if 1 <= value <= 8 else 1
    except (struct.error, KeyError):
        pass
    return 1


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, memoryview]]:
    """Marker and bytes of each segment before the pixels, then of everything from the first scan on."""
    view = memoryview(data)  # scans are large: they are copied once
    at = 2
    while True:
        if data[at] != 0xFF:
            raise ValueError("no marker")
        while data[at + 1] == 0xFF:
            at += 1
        marker = data[at + 1]
        if marker == _SCAN:
            yield marker, view[at:]
            return
        length = 0 if marker == 0x01 or 0xD0 <= marker <= 0xD8 else struct.unpack_from(">H", data, at + 2)[0]
        yield marker, view[at : at + 2 + length]
        at += 2 + length


def _jpeg(data: bytes) -> Content:
    """Without APP and COM segments, except those that define the colours: JFIF's and Adobe's."""
    kept, exif = [memoryview(data)[:2]], b""
    for marker, segment in _jpeg_segments(data):
        body = b"" if marker == _SCAN else bytes(segment[4:])
        if marker == 0xE1 and body.startswith(b"Exif\0\0"):
            exif += body[6:] if exif else body
        has_jfif = body.startswith(b"JFIF\0") and len(body) >= 14
        has_adobe = body.startswith(b"Adobe") and len(body) >= 12
        if has_jfif or has_adobe or not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            kept.append(segment)
    return Content(b"".join(kept), orientation(exif))


def without_end(data: bytes) -> tuple[bytes, bytes] | None:
    """A JPEG without its end marker, completed in two ways; None where scans are missing too.

    With all pixels present both decode to the same image, since what follows the last pixel is ignored. Where pixels
    are missing, the decoder fills them from what follows, which differs.
    """
    body = data.rstrip(b"\xff")
    try:
        if not _has_all_scans(body):
            return None
    except (struct.error, IndexError, ValueError):
        return None
    markers = re.compile(rb"\xff[\xd0-\xd7]").finditer(body, body.rfind(b"\xff\xda"))
    restarts = sum(1 for _ in markers)  # counted one by one: damaged bytes may hold millions
    noise = b"".join(b"\x9b\x36\xd5\x6a" * 8 + bytes([0xFF, 0xD0 + (restarts + k) % 8]) for k in range(16))
    return body + b"\xff\xd9", body + noise + b"\xff\xd9"


def _has_all_scans(data: bytes) -> bool:
    """Whether the scans of a JPEG hold every coefficient of every component to its last bit."""
    missing: set[tuple[int, int]] = set()
    rest = memoryview(b"")
    for marker, segment in _jpeg_segments(data):
        rest = segment
        if marker in _FRAMES:
            missing = {(component, k) for component in segment[10 : 10 + 3 * segment[9] : 3] for k in range(64)}
    for scan in re.finditer(rb"\xff\xda", rest):
        count = rest[scan.end() + 2]
        components = rest[scan.end() + 3 : scan.end() + 3 + 2 * count : 2]
        first, last, bits = rest[scan.end() + 3 + 2 * count : scan.end() + 6 + 2 * count]
        if bits & 15 == 0:
            missing -= {(component, k) for component in components for k in range(first, last + 1)}
    return not missing


def _png(data: bytes) -> Content:
    """The chunks of the default image, and its transparency where that chunk is valid."""
    view = memoryview(data)
    kept, at, exif, count, kind = [view[:8]], 8, b"", 1, b""
    while kind != b"IEND" and at + 8 <= len(data):
        (length,), kind = struct.unpack_from(">I", data, at), data[at + 4 : at + 8]
        end = at + 12 + length
        if end > len(data) or not kind.isalpha():
            kept.append(view[at:])  # truncated: the decoder finds out whether pixels are missing
            break
        body = b"" if kind in _PNG_PIXELS else data[at + 8 : end - 4]
        if kind in _PNG_PIXELS or (kind == b"tRNS" and _is_valid_transparency(data[8:33], body, data[end - 4 : end])):
            kept.append(view[at:end])
        elif kind == b"eXIf":
            exif = body
        elif kind in (b"tEXt", b"zTXt") and body.startswith((b"Raw profile type exif\0", b"Raw profile type APP1\0")):
            exif = exif or _raw_profile(body, kind == b"zTXt")
        elif kind == b"acTL" and length == 8:
            (count,) = struct.unpack(">I", body[:4])
        at = end
    return Content(b"".join(kept), orientation(exif), max(count, 1))


def _is_valid_transparency(header: bytes, body: bytes, checksum: bytes) -> bool:
    fits = {0: len(body) == 2, 2: len(body) == 6, 3: 1 <= len(body) <= 256}.get(header[17], False)
    return fits and zlib.crc32(b"tRNS" + body).to_bytes(4, "big") == checksum


def _raw_profile(body: bytes, compressed: bool) -> bytes:
    """EXIF as ImageMagick writes it into a PNG text chunk."""
    text = body.partition(b"\0")[2]
    try:
        if compressed:
            text = zlib.decompressobj().decompress(text[1:], 1 << 18)
        return bytes.fromhex(b"".join(text.split(b"\n")[3:]).decode("ascii"))
    except (zlib.error, ValueError):
        return b""


def _tiff(data: bytes) -> Content:
    page = tiff.largest_page(data)
    turned = page.orientation if 1 <= page.orientation <= 8 else 1
    return Content(page.data, turned, page.count, page.number > 0, page.is_preview, page.bits, page.white_is_zero)


def _without_exif(data: bytes) -> Content:
    """HEIF and AVIF store their orientation outside EXIF, and their decoders apply it."""
    return Content(re.sub(rb"(infe[\x02\x03][\x00-\xff]{7,9}?)Exif", rb"\1none", data))


def jxl_size(data: bytes) -> tuple[int, int]:
    """Width and height of a JPEG XL image from its header, which its decoder reports only after decoding it all."""
    if not data.startswith(b"\xff\x0a"):
        data = _jxl_stream(data)
    word = int.from_bytes(data[2:16], "little")

    def take(bits: int) -> int:
        nonlocal word
        value, word = word & ((1 << bits) - 1), word >> bits
        return value

    def side() -> int:
        return 8 * (1 + take(5)) if small else 1 + take((9, 13, 18, 30)[take(2)])

    small = bool(take(1))
    height = side()
    ratio = take(3)
    up, down = ((0, 1), (1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))[ratio]
    return (height * up // down if ratio else side()), height


def _jxl_stream(data: bytes) -> bytes:
    """The start of the codestream in a JPEG XL container."""
    at = 0
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        head = 8
        if length == 1:
            (length,), head = struct.unpack_from(">Q", data, at + 8), 16
        if kind in (b"jxlc", b"jxlp"):
            return data[at + head + (4 if kind == b"jxlp" else 0) :][:64]
        at += max(length, head)
    raise ValueError("no codestream")
