"""Metadata in image files: the orientation is read in every format, everything else is ignored, however damaged."""

import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from face_files import TRIALS, saved, seen
from PIL import Image, PngImagePlugin

from twfer_dist.faces.containers import orientation, without_end

TURNED = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # how Pillow turns an upright picture into the stored one
GARBAGE = b"this is not metadata \xff\xd8\0" * 40


@pytest.fixture(scope="module")
def head() -> Image.Image:
    picture = Image.fromarray(seen((TRIALS / "exif" / "png_gama_short.png").read_bytes()))
    return picture.crop((60, 0, 220, 250)).resize((80, 125))


def exif(number: int, order: str = "<", kind: int = 3) -> bytes:
    """EXIF with an orientation, and a tag whose value lies far outside."""
    code = {3: "HH", 4: "I", 8: "hH", 9: "i", 1: "B3x"}[kind]
    value: bytes = struct.pack(order + code, *([number, 0] if kind in (3, 8) else [number]))
    entries = struct.pack(order + "HHI", 0x0112, kind, 1) + value + struct.pack(order + "HHII", 0x8769, 4, 1, 2**31)
    return (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, 2) + entries + bytes(4)


@pytest.mark.parametrize("number", range(1, 9))
def test_orientation_is_applied_in_every_format(head: Image.Image, number: int, tmp_path: Path) -> None:
    stored = head.transpose(Image.Transpose(TURNED[number])) if number in TURNED else head
    data = b"Exif\0\0" + exif(number)
    stored.save(tmp_path / "a.jpg", quality=95, exif=data)
    files = [
        saved(stored, "JPEG", quality=95, exif=data),
        saved(stored, "PNG", exif=data),
        saved(stored, "WEBP", lossless=True, exif=data),
        saved(stored, "TIFF", tiffinfo={274: number}),
        saved(stored, "TIFF", tiffinfo={274: number}, compression="tiff_lzw"),
        saved(Image.open(tmp_path / "a.jpg"), "JXL", lossless_jpeg=True),
        saved(stored, "HEIF", quality=95, exif=data),
        saved(stored, "AVIF", quality=95, exif=data),
    ]
    for file in files:
        shown = seen(file)
        assert shown.shape == (125, 80, 3) and np.abs(shown.astype(int) - np.asarray(head)).mean() < 1.5


@pytest.mark.parametrize("kind", [1, 3, 4, 8, 9])
@pytest.mark.parametrize("order", ["<", ">"])
def test_orientation_is_read_whatever_its_type(order: str, kind: int) -> None:
    assert orientation(exif(6, order, kind)) == 6
    assert orientation(b"Exif\0\0" * 2 + exif(6, order, kind)) == 6


def test_damaged_exif_has_no_orientation() -> None:
    whole = exif(6)
    wrong_type = whole.replace(b"\x12\x01\x03", b"\x12\x01\x05")
    for wrong in (exif(0), exif(9), whole[:15], b"", GARBAGE, wrong_type, b"II*\0\xff\xff\xff\xff"):
        assert orientation(wrong) == 1


def test_jpeg_metadata_is_ignored(head: Image.Image) -> None:
    plain = saved(head, "JPEG", quality=95)
    names = (b"", b"JFIF\0", b"Adobe", b"Exif\0\0" + GARBAGE, b"Photoshop 3.0\0008BIM\x03", b"MPF\0" + GARBAGE)
    for marker in [*range(0xE0, 0xF0), 0xFE]:
        for body in (*names, b"ICC_PROFILE\0"):
            segment = bytes([0xFF, marker]) + struct.pack(">H", 2 + len(body)) + body
            assert (seen(plain[:2] + segment + plain[2:]) == seen(plain)).all(), (marker, body)


def test_png_metadata_is_ignored(head: Image.Image) -> None:
    plain = saved(head, "PNG")
    bomb = zlib.compress(bytes(1 << 26))
    bodies = [b"", b"\0", GARBAGE, b"name\0\0" + bomb, b"name\0\x07" + bomb, b"key\0\1\0\0\0" + bomb]
    names = "gAMA pHYs cHRM sRGB iCCP tEXt zTXt iTXt eXIf acTL fcTL fdAT tRNS tIME"
    for name in names.encode().split():
        for body in bodies:
            for checksum in (zlib.crc32(name + body), 7):
                chunk = struct.pack(">I", len(body)) + name + body + struct.pack(">I", checksum)
                assert (seen(plain[:33] + chunk + plain[33:]) == np.asarray(head)).all(), (name, body[:9])


def test_png_text_of_imagemagick_gives_the_orientation(head: Image.Image) -> None:
    text, profile = PngImagePlugin.PngInfo(), b"Exif\0\0" + exif(6)
    text.add_text("Raw profile type exif", f"\nexif\n{len(profile):8d}\n{profile.hex()}\n", zip=True)
    data = saved(head.transpose(Image.Transpose.ROTATE_90), "PNG", pnginfo=text)
    assert (seen(data) == np.asarray(head)).all()


def test_tiff_metadata_is_ignored(head: Image.Image) -> None:
    for options in ({}, {"compression": "tiff_adobe_deflate"}, {"big_tiff": True}):
        plain = saved(head, "TIFF", tiffinfo={305: "tag"}, **options)
        wide, order = (8, "<Q") if "big_tiff" in options else (4, "<I")
        entry = plain.index(struct.pack("<HH", 305, 2), struct.unpack_from(order, plain, wide)[0])
        for tag in (254, 270, 274, 282, 296, 330, 700, 33723, 34377, 34665, 34675, 34853, 0xBC01):
            for kind in (0, 1, 2, 3, 4, 5, 13, 99):
                for count in (0, 1, 2, 2**31):
                    data = bytearray(plain)
                    struct.pack_into("<HH" + order[1] * 2, data, entry, tag, kind, count, 2**31)
                    assert (seen(bytes(data)) == np.asarray(head)).all(), (options, tag, kind, count)


def test_damaged_exif_is_ignored_in_heif_and_avif(head: Image.Image) -> None:
    for kind in ("HEIF", "AVIF"):
        data = saved(head, kind, exif=b"Exif\0\0" + exif(1)[:-4] + GARBAGE)
        assert (seen(data.replace(b"II*\0", b"XX\0\0")) == seen(data)).all()


def test_a_jpeg_of_many_restart_markers_takes_little_memory(head: Image.Image) -> None:
    data = saved(head, "JPEG")[:-2] + b"\xff\xd0" * 500_000
    tracemalloc.start()
    try:
        completed = without_end(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert completed and peak < 8 * len(data)
