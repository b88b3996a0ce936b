"""From a file to an upright picture: what is read, what is refused, and the sentences for it."""

import os
import shutil
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from face_files import EXPECTED, MALFORMED, MANY, STATUS, TRIALS, malformed, refusal, saved, seen
from PIL import Image

from twfer_dist.core.status import MISSING, OUTSIDE, TOO_LARGE, TOO_SMALL, UNREADABLE
from twfer_dist.corpus import formats
from twfer_dist.faces.decode import DecodeError, decode, on_grey, read

FILES = sorted(path for folder in ("endings", "exif", "kinds") for path in (TRIALS / folder).iterdir())
KINDS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "JPEG2000", "AVIF", "HEIF", "JXL")


@pytest.fixture(scope="module")
def head() -> Image.Image:
    """The picture that the trial files show, cropped so that its sides differ."""
    picture = Image.fromarray(seen((TRIALS / "exif" / "png_gama_short.png").read_bytes()))
    return picture.crop((60, 0, 220, 250)).resize((80, 125))


def off(picture: np.ndarray, image: Image.Image) -> float:
    """The mean difference in grey levels; large where the shapes differ."""
    expected = np.asarray(image.convert("RGB"))
    return float(np.abs(picture.astype(int) - expected).mean()) if picture.shape == expected.shape else 255.0


# Reading


def test_no_path_leads_out_of_the_corpus(tmp_path: Path) -> None:
    root, outside = tmp_path / "corpus", tmp_path / "outside"
    (root / "in").mkdir(parents=True)
    outside.mkdir()
    shutil.copy(MALFORMED / "gray.jpg", outside / "secret.jpg")
    shutil.copy(MALFORMED / "gray.jpg", root / "in" / "fine.jpg")
    (root / "link.jpg").symlink_to(outside / "secret.jpg")
    (root / "folder").symlink_to(outside)
    (root / "near.jpg").symlink_to(root / "in" / "fine.jpg")
    os.mkfifo(root / "pipe.jpg")  # opening it would block

    def status(path: str) -> str:
        with pytest.raises(DecodeError) as caught:
            read(str(root), path, MANY)
        return caught.value.status

    secrets = ("../outside/secret.jpg", "in/../../outside/secret.jpg", "link.jpg", "folder/secret.jpg")
    for path in (*secrets, str(outside / "secret.jpg")):
        assert status(path) == OUTSIDE, path
    assert status("nothing.jpg") == MISSING
    assert status("in") == status("pipe.jpg") == UNREADABLE
    for path in ("in/fine.jpg", "near.jpg"):
        assert read(str(root), path, MANY) == (MALFORMED / "gray.jpg").read_bytes()
    with pytest.raises(DecodeError, match="more than 100 pixels need"):
        read(str(root), "in/fine.jpg", 100)


# Malformed files


def test_the_list_of_malformed_files_is_complete() -> None:
    assert set(EXPECTED) == {f.name for f in MALFORMED.iterdir()} - {"README.md", "malformed.csv"}
    assert set(STATUS) == {name for name, expected in EXPECTED.items() if expected == "error"}


@pytest.mark.parametrize("name", [name for name, expected in EXPECTED.items() if expected == "ok"])
def test_awkward_files_are_read(name: str) -> None:
    picture = malformed(name)
    assert picture.dtype == np.uint8
    assert picture.shape == ((240, 220, 3) if name.startswith("exif") else (240, 240, 3))


@pytest.mark.parametrize("name", [name for name, status in STATUS.items() if status != TOO_SMALL])
def test_broken_files_are_refused_with_a_sentence(name: str) -> None:
    refused = refusal((MALFORMED / name).read_bytes())
    assert refused.status == STATUS[name]
    assert str(refused).endswith(".") and "0x" not in str(refused)


@pytest.mark.parametrize("number", range(2, 9))
def test_exif_orientations_give_the_same_upright_picture(number: int) -> None:
    assert np.abs(malformed(f"exif_{number}.jpg").astype(int) - malformed("exif_1.jpg")).mean() < 1


def test_pixels_are_counted_before_decoding() -> None:
    damaged = (MALFORMED / "truncated.jpg").read_bytes()
    assert refusal(damaged, 1000).status == TOO_LARGE  # decoding it would have said: unreadable


def test_a_truncated_jpeg_is_never_read_in_part(head: Image.Image) -> None:
    """Wherever a JPEG is cut off it is refused, or shows all that it showed."""
    for options in (
        {},
        {"progressive": True},
        {"restart_marker_blocks": 2},
        {"progressive": True, "restart_marker_rows": 1},
    ):
        whole = saved(head.resize((64, 64)), "JPEG", quality=60, **options)
        first, expected = whole.index(b"\xff\xda"), seen(whole)
        read_back = {}
        for end in range(first, len(whole)):
            try:
                read_back[end] = seen(whole[:end])
            except DecodeError as refused:
                assert refused.status == UNREADABLE
        assert {len(whole) - 1, len(whole) - 2} <= read_back.keys() and len(read_back) < 8
        assert all((picture == expected).all() for picture in read_back.values())


# Kinds of pixels


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_trial_files_show_the_same_upright_head(path: Path) -> None:
    shown, expected = (seen(file.read_bytes()).mean(2) for file in (path, TRIALS / "endings" / "face.jp2"))
    assert shown.shape == expected.shape == (288, 288) and np.abs(shown - expected).mean() < 1.5


def test_colour_spaces_of_one_picture_agree() -> None:
    plain = malformed("脸 兵马俑 face 1.jpg").astype(int)
    assert np.abs(malformed("cmyk.jpg") - plain).mean() < 3
    assert np.abs(malformed("animated.gif") - plain).mean() < 6  # 256 colours; the first frame
    grey = malformed("gray.jpg")
    assert (grey == grey[..., :1]).all()


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bits_are_scaled_not_clipped(channels: int) -> None:
    ramp = np.repeat(np.linspace(0, 65535, 64 * 64).reshape(64, 64, 1).astype(np.uint16), channels, 2)
    ramp[..., 3:] = 65535
    read_back = decode(cv2.imencode(".png", ramp)[1].tobytes(), MANY).pixels
    assert read_back.shape[2] == max(channels, 3)
    assert (read_back[..., 0] == ramp[..., 0] >> 8).all()


def test_transparent_pixels_are_blended_with_grey() -> None:
    pixels = np.full((2, 2, 4), (200, 100, 0, 255), np.uint8)
    pixels[0, 0, 3], pixels[0, 1, 3] = 0, 51
    assert on_grey(pixels)[0, 0].tolist() == [128, 128, 128]
    assert on_grey(pixels)[0, 1].tolist() == [142, 122, 102]
    assert on_grey(pixels)[1, 1].tolist() == [200, 100, 0]


def _tiff(order: str, bits: int, white: int, values: np.ndarray) -> bytes:
    """An uncompressed grey TIFF with one strip."""
    rows = np.packbits(values.astype(bool), axis=1) if bits == 1 else values.astype(f"{order}u{bits // 8}")
    height, width = values.shape
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: white, 273: 8, 277: 1, 278: height, 279: rows.nbytes}
    entries = b"".join(struct.pack(order + "HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    header = struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", 42, 8 + rows.nbytes)
    return header + rows.tobytes() + struct.pack(order + "H", len(tags)) + entries + bytes(4)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [1, 8, 16])
def test_white_is_white_whatever_its_value(order: str, bits: int) -> None:
    ramp = np.tile(np.linspace(0, 2**bits - 1, 64).round(), (4, 1))
    expected = ramp * 255 if bits == 1 else ramp // 2 ** (bits - 8)
    for white in (0, 1):
        picture = seen(_tiff(order, bits, white, ramp))
        assert (picture == (expected if white else 255 - expected)[..., None]).all(), white


def test_grey_keeps_its_transparency_and_depth(head: Image.Image) -> None:
    clear = head.convert("LA")
    clear.putalpha(Image.fromarray(np.tile(np.linspace(0, 255, head.width).astype(np.uint8), (head.height, 1))))
    for kind in ("PNG", "TIFF"):
        assert (decode(saved(clear, kind), MANY).pixels == np.asarray(clear.convert("RGBA"))).all()
    deep = b"P5 64 1 4095\n" + np.linspace(0, 4095, 64).astype(">u2").tobytes()
    assert np.abs(seen(deep)[0, :, 0] - np.linspace(0, 255, 64)).max() < 2
    assert "32 bits" in str(refusal(saved(Image.fromarray(np.full((30, 40), 0.5, np.float32)), "TIFF")))


# Pages and frames


def test_notes_say_what_was_read() -> None:
    notes = {path.name: decode(path.read_bytes(), MANY).note for path in FILES}
    assert {name: note for name, note in notes.items() if note} == {
        "eoi_missing.jpg": "The file is truncated after its last pixel; the image is complete.",
        "gif_first_frame_blank.gif": "Frame 2 of 2 was read; the earlier ones are blank.",
        "tiff_first_page_thumbnail.tif": "The largest of 2 pages was read.",
    }


def test_the_largest_page_is_read(head: Image.Image) -> None:
    small, mask = head.resize((30, 40)), Image.new("L", (400, 400))
    for options in ({}, {"compression": "tiff_lzw"}, {"big_tiff": True}):
        decoded = decode(saved(small, "TIFF", save_all=True, append_images=[head, small], **options), MANY)
        assert off(decoded.pixels, head) == 0 and decoded.note == "The largest of 3 pages was read."
        decoded = decode(saved(head, "TIFF", save_all=True, append_images=[head.rotate(180), mask], **options), MANY)
        assert decoded.pixels.shape == (400, 400, 3)  # nothing says that it is a mask
    mask.encoderinfo = {"tiffinfo": {254: 4}}
    decoded = decode(saved(head, "TIFF", save_all=True, append_images=[head.rotate(180), mask]), MANY)
    assert off(decoded.pixels, head) == 0 and decoded.note == "The first of 3 pages was read."
    assert decode(saved(head, "TIFF"), MANY).note == ""
    preview = decode(saved(head, "TIFF", tiffinfo={254: 1}), MANY)  # as in a raw photograph
    assert preview.note.startswith("Only the preview in this file was read")


def test_a_damaged_later_page_is_ignored(head: Image.Image) -> None:
    data = bytearray(saved(head, "TIFF"))
    entries = struct.unpack_from("<I", data, 4)[0]
    struct.pack_into("<I", data, entries + 2 + 12 * struct.unpack_from("<H", data, entries)[0], len(data) - 1)
    assert off(seen(bytes(data)), head) == 0


def test_the_first_frame_that_is_not_blank_is_read(head: Image.Image) -> None:
    blank = Image.new("RGB", head.size, (250, 250, 250))
    nearly = blank.rotate(1, fillcolor=(247, 247, 247))
    for kind, options, note in (("GIF", {}, "Frame "), ("WEBP", {"lossless": True}, "Frame 3 of 4")):
        decoded = decode(saved(blank, kind, save_all=True, append_images=[nearly, head, blank], **options), MANY)
        assert off(on_grey(decoded.pixels), head) < 8 and decoded.note.startswith(note)
        decoded = decode(saved(head, kind, save_all=True, append_images=[head.rotate(180)], **options), MANY)
        assert off(on_grey(decoded.pixels), head) < 8 and decoded.note == "The first of 2 frames was read."
    black = Image.new("RGB", head.size)
    decoded = decode(saved(blank, "WEBP", save_all=True, append_images=[black], lossless=True), MANY)
    assert (on_grey(decoded.pixels) == 250).all() and decoded.note == "The first of 2 frames was read."
    decoded = decode(saved(head, "PNG", save_all=True, append_images=[head.rotate(180)]), MANY)
    assert off(decoded.pixels, head) == 0 and decoded.note == "The first of 2 frames was read."


def test_the_primary_image_of_several_is_read(head: Image.Image) -> None:
    small, turned = head.resize((64, 64)), head.rotate(180)
    data = saved(small, "HEIF", save_all=True, append_images=[head, turned], primary_index=1, quality=90)
    decoded = decode(data, MANY)
    assert off(decoded.pixels, head) < 3 and decoded.note == "The primary image of 3 in the file was read."


# Formats


@pytest.mark.parametrize("kind", KINDS)
def test_every_format_is_known_by_content_and_bounded(head: Image.Image, kind: str) -> None:
    data = saved(head, kind)
    assert formats.format_of(data) == kind
    assert off(seen(data), head) < 8
    refused = refusal(data, head.width * head.height - 1)
    assert refused.status == TOO_LARGE and f"{head.width} x {head.height} pixels" in str(refused)
    for cut in (0.5, 0.9):
        assert refusal(data[: int(len(data) * cut)]).status == UNREADABLE


@pytest.mark.parametrize("size", [(160, 250), (256, 64), (1, 1), (300, 200), (1600, 900), (5000, 2)])
def test_jpeg_xl_is_bounded_before_it_is_decoded(size: tuple[int, int]) -> None:
    for container in (False, True):
        data = saved(Image.new("L", size, 90), "JXL", use_container=container, effort=1)
        refused = refusal(data[: len(data) // 2 if len(data) > 200 else len(data)], size[0] * size[1] - 1)
        assert (refused.status, f"{size[0]} x {size[1]} pixels" in str(refused)) == (TOO_LARGE, True)


def test_formats_that_start_programs_are_never_opened(head: Image.Image) -> None:
    for data in (saved(head, "EPS"), saved(head, "PDF"), saved(head, "ICO"), saved(head, "TGA"), b"<svg/>"):
        assert refusal(data).status == UNREADABLE
