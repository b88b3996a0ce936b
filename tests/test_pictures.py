"""Files to pictures: odd metadata, kinds of pixels, pages and frames, and every format that is read."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from twfer_dist.core.status import OK, TOO_LARGE, UNREADABLE
from twfer_dist.corpus import formats
from twfer_dist.corpus.corpus import open_corpus
from twfer_dist.faces.containers import orientation
from twfer_dist.faces.decode import DecodeError, decode, on_grey
from twfer_dist.faces.stage import FaceFinder, FacesConfig, faces_job

TRIALS = Path(__file__).parent / "data" / "trials"
FILES = sorted(path for folder in ("endings", "exif", "kinds") for path in (TRIALS / folder).iterdir())
MANY = 100_000_000
TURNED = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # how Pillow turns an upright picture into the one that is stored
GARBAGE = b"this is no metadata \xff\xd8\0" * 40


@pytest.fixture(scope="module")
def head() -> Image.Image:
    """The picture that the trial files show, cut so that its sides differ."""
    return (
        Image.fromarray(seen((TRIALS / "exif" / "png_gama_short.png").read_bytes()))
        .crop((60, 0, 220, 250))
        .resize((80, 125))
    )


def seen(data: bytes) -> np.ndarray:
    return on_grey(decode(data, MANY).pixels)


def saved(image: Image.Image, kind: str, **how: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()


def off(picture: np.ndarray, image: Image.Image) -> float:
    """The mean difference in grey levels; large where the shapes differ."""
    wanted = np.asarray(image.convert("RGB"))
    return float(np.abs(picture.astype(int) - wanted).mean()) if picture.shape == wanted.shape else 255.0


def refusal(data: bytes, max_pixels: int = MANY) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        decode(data, max_pixels)
    return caught.value


def exif(number: int, order: str = "<", kind: int = 3) -> bytes:
    """EXIF with an orientation and a tag of which the value lies far outside."""
    value: bytes = struct.pack(
        order + {3: "HH", 4: "I", 8: "hH", 9: "i", 1: "B3x"}[kind], *([number, 0] if kind in (3, 8) else [number])
    )
    entries = struct.pack(order + "HHI", 0x0112, kind, 1) + value + struct.pack(order + "HHII", 0x8769, 4, 1, 2**31)
    return (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, 2) + entries + bytes(4)


# Metadata


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_trial_files_show_the_same_upright_head(path: Path) -> None:
    shown, wanted = (seen(file.read_bytes()).mean(2) for file in (path, TRIALS / "endings" / "face.jp2"))
    assert shown.shape == wanted.shape == (288, 288) and np.abs(shown - wanted).mean() < 1.5


def test_notes_say_what_was_taken() -> None:
    notes = {path.name: decode(path.read_bytes(), MANY).note for path in FILES}
    assert {name: note for name, note in notes.items() if note} == {
        "eoi_missing.jpg": "The file lacks its end; all pixels are there.",
        "gif_first_frame_blank.gif": "Frame 2 of 2 was read: those before it are blank.",
        "tiff_first_page_thumbnail.tif": "The largest of 2 pages was read.",
    }


@pytest.mark.parametrize("number", range(1, 9))
def test_orientation_holds_in_every_format(head: Image.Image, number: int, tmp_path: Path) -> None:
    stored = head.transpose(Image.Transpose(TURNED[number])) if number in TURNED else head
    data = b"Exif\0\0" + exif(number)
    stored.save(tmp_path / "a.jpg", quality=95, exif=data)
    files = [saved(stored, "JPEG", quality=95, exif=data), saved(stored, "PNG", exif=data), saved(stored,
        "WEBP", lossless=True, exif=data), saved(stored, "TIFF", tiffinfo={274: number}), saved(stored,
        "TIFF", tiffinfo={274: number}, compression="tiff_lzw"), saved(Image.open(tmp_path / "a.jpg"),
        "JXL", lossless_jpeg=True), saved(stored, "HEIF", quality=95, exif=data), saved(stored, "AVIF",
        quality=95, exif=data), ]  # fmt: skip
    assert max(off(seen(file), head) for file in files) < 1.5


@pytest.mark.parametrize("kind", [1, 3, 4, 8, 9])
@pytest.mark.parametrize("order", ["<", ">"])
def test_orientation_is_read_whatever_its_type(order: str, kind: int) -> None:
    assert orientation(exif(6, order, kind)) == 6
    assert orientation(b"Exif\0\0" * 2 + exif(6, order, kind)) == 6


def test_a_fault_in_exif_is_no_orientation() -> None:
    whole = exif(6)
    for wrong in (
        exif(0),
        exif(9),
        whole[:15],
        b"",
        GARBAGE,
        whole.replace(b"\x12\x01\x03", b"\x12\x01\x05"),
        b"II*\0\xff\xff\xff\xff",
    ):
        assert orientation(wrong) == 1


def test_jpeg_segments_that_are_no_pixels_are_passed_over(head: Image.Image) -> None:
    plain = saved(head, "JPEG", quality=95)
    for marker in [*range(0xE0, 0xF0), 0xFE]:
        for body in (
            b"",
            b"JFIF\0",
            b"Adobe",
            b"Exif\0\0" + GARBAGE,
            b"Photoshop 3.0\0008BIM\x03",
            b"MPF\0" + GARBAGE,
            b"ICC_PROFILE\0",
        ):
            segment = bytes([0xFF, marker]) + struct.pack(">H", 2 + len(body)) + body
            assert (seen(plain[:2] + segment + plain[2:]) == seen(plain)).all(), (marker, body)


def test_png_chunks_that_are_no_pixels_are_passed_over(head: Image.Image) -> None:
    plain = saved(head, "PNG")
    bomb = zlib.compress(bytes(1 << 26))
    bodies = [b"", b"\0", GARBAGE, b"name\0\0" + bomb, b"name\0\x07" + bomb, b"key\0\1\0\0\0" + bomb]
    for name in (
        b"gAMA",
        b"pHYs",
        b"cHRM",
        b"sRGB",
        b"iCCP",
        b"tEXt",
        b"zTXt",
        b"iTXt",
        b"eXIf",
        b"acTL",
        b"fcTL",
        b"fdAT",
        b"tRNS",
        b"tIME",
    ):
        for body in bodies:
            for checksum in (zlib.crc32(name + body), 7):
                chunk = struct.pack(">I", len(body)) + name + body + struct.pack(">I", checksum)
                assert (seen(plain[:33] + chunk + plain[33:]) == np.asarray(head)).all(), (name, body[:9])
    text = PngImagePlugin.PngInfo()
    profile = b"Exif\0\0" + exif(6)
    text.add_text(
        "Raw profile type exif", f"\nexif\n{len(profile):8d}\n{profile.hex()}\n", zip=True
    )  # as ImageMagick writes it
    assert off(seen(saved(head.transpose(Image.Transpose.ROTATE_90), "PNG", pnginfo=text)), head) == 0


def test_tiff_tags_that_are_no_pixels_are_passed_over(head: Image.Image) -> None:
    for how in ({}, {"compression": "tiff_adobe_deflate"}, {"big_tiff": True}):
        plain = saved(head, "TIFF", tiffinfo={305: "tag"}, **how)
        wide, order = (8, "<Q") if "big_tiff" in how else (4, "<I")
        entry = plain.index(struct.pack("<HH", 305, 2), struct.unpack_from(order, plain, wide)[0])
        for tag in (254, 270, 274, 282, 296, 330, 700, 33723, 34377, 34665, 34675, 34853, 0xBC01):
            for kind in (0, 1, 2, 3, 4, 5, 13, 99):
                for count in (0, 1, 2, 2**31):
                    data = bytearray(plain)
                    struct.pack_into("<HH" + order[1] * 2, data, entry, tag, kind, count, 2**31)
                    assert (seen(bytes(data)) == np.asarray(head)).all(), (how, tag, kind, count)


def test_exif_that_is_garbage_is_no_fault_in_heif_and_avif(head: Image.Image) -> None:
    for kind in ("HEIF", "AVIF"):
        data = saved(head, kind, exif=b"Exif\0\0" + exif(1)[:-4] + GARBAGE)
        assert (seen(data.replace(b"II*\0", b"XX\0\0")) == seen(data)).all()


def test_what_is_cut_off_is_never_half_read(head: Image.Image) -> None:
    """Wherever a JPEG is cut off it is refused, or shows all that it showed."""
    for how in (
        {},
        {"progressive": True},
        {"restart_marker_blocks": 2},
        {"progressive": True, "restart_marker_rows": 1},
    ):
        whole = saved(head.resize((64, 64)), "JPEG", quality=60, **how)
        first, wanted = whole.index(b"\xff\xda"), seen(whole)
        taken = {}
        for end in range(first, len(whole)):
            try:
                taken[end] = seen(whole[:end])
            except DecodeError as refused:
                assert refused.status == UNREADABLE
        assert {len(whole) - 1, len(whole) - 2} <= taken.keys() and len(taken) < 8
        assert all((picture == wanted).all() for picture in taken.values())


def test_the_row_of_a_photograph_holds_the_note() -> None:
    corpus = open_corpus(str(TRIALS / "kinds"))
    config = FacesConfig(aligned=True, measure=False)
    photographs = FaceFinder({"kinds": corpus.root}, config, None, None)(corpus.table)["photographs"].to_pylist()
    assert {row["path"]: row["note"] for row in photographs}[
        "tiff_first_page_thumbnail.tif"
    ] == "The largest of 2 pages was read."
    assert [row["note"] for row in photographs].count("") == 2 and {row["status"] for row in photographs} == {OK}
    assert faces_job([corpus], config).models.keys() >= {
        "pillow",
        "pillow-heif",
        "pillow-jxl-plugin",
    }  # another one may read otherwise


# Kinds of pixels


def tiff(order: str, bits: int, white: int, values: np.ndarray, **more: int) -> bytes:
    """An uncompressed grey TIFF with one strip."""
    rows = np.packbits(values.astype(bool), axis=1) if bits == 1 else values.astype(f"{order}u{bits // 8}")
    tags = {
        256: values.shape[1],
        257: values.shape[0],
        258: bits,
        259: 1,
        262: white,
        273: 8,
        277: 1,
        278: values.shape[0],
    }
    tags |= {279: rows.nbytes} | {int(tag[1:]): value for tag, value in more.items()}
    entries = b"".join(struct.pack(order + "HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    head = struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", 42, 8 + rows.nbytes)
    return head + rows.tobytes() + struct.pack(order + "H", len(tags)) + entries + bytes(4)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [1, 8, 16])
def test_white_is_white_whichever_value_it_has(order: str, bits: int) -> None:
    ramp = np.tile(np.linspace(0, 2**bits - 1, 64).round(), (4, 1))
    wanted = ramp * 255 if bits == 1 else ramp // 2 ** (bits - 8)
    for white in (0, 1):
        picture = seen(tiff(order, bits, white, ramp))
        assert (picture == (wanted if white else 255 - wanted)[..., None]).all(), white


def test_grey_pictures_keep_their_transparency_and_depth(head: Image.Image) -> None:
    clear = head.convert("LA")
    clear.putalpha(Image.fromarray(np.tile(np.linspace(0, 255, head.width).astype(np.uint8), (head.height, 1))))
    for kind in ("PNG", "TIFF"):
        assert (decode(saved(clear, kind), MANY).pixels == np.asarray(clear.convert("RGBA"))).all()
    deep = b"P5 64 1 4095\n" + np.linspace(0, 4095, 64).astype(">u2").tobytes()
    assert np.abs(seen(deep)[0, :, 0] - np.linspace(0, 255, 64)).max() < 2
    assert "32 bits" in str(refusal(saved(Image.fromarray(np.full((30, 40), 0.5, np.float32)), "TIFF")))


# Pages and frames


def test_the_largest_page_is_taken_and_said(head: Image.Image) -> None:
    small, mask = head.resize((30, 40)), Image.new("L", (400, 400))
    for how in ({}, {"compression": "tiff_lzw"}, {"big_tiff": True}):
        found = decode(saved(small, "TIFF", save_all=True, append_images=[head, small], **how), MANY)
        assert off(found.pixels, head) == 0 and found.note == "The largest of 3 pages was read."
        found = decode(saved(head, "TIFF", save_all=True, append_images=[head.rotate(180), mask], **how), MANY)
        assert found.pixels.shape == (400, 400, 3)  # nothing says that it is a mask
    mask.encoderinfo = {"tiffinfo": {254: 4}}
    found = decode(saved(head, "TIFF", save_all=True, append_images=[head.rotate(180), mask]), MANY)
    assert off(found.pixels, head) == 0 and found.note == "The first of 3 pages was read."
    assert decode(saved(head, "TIFF"), MANY).note == ""
    assert decode(saved(head, "TIFF", tiffinfo={254: 1}), MANY).note.startswith(
        "A preview in the file was read"
    )  # as of a raw photograph


def test_a_damaged_later_page_costs_nothing(head: Image.Image) -> None:
    data = bytearray(saved(head, "TIFF"))
    entries = struct.unpack_from("<I", data, 4)[0]
    struct.pack_into("<I", data, entries + 2 + 12 * struct.unpack_from("<H", data, entries)[0], len(data) - 1)
    assert off(seen(bytes(data)), head) == 0


def test_the_first_frame_that_shows_something_is_taken(head: Image.Image) -> None:
    blank = Image.new("RGB", head.size, (250, 250, 250))
    for kind, how in (("GIF", {}), ("WEBP", {"lossless": True})):
        found = decode(
            saved(
                blank,
                kind,
                save_all=True,
                append_images=[blank.rotate(1, fillcolor=(247, 247, 247)), head, blank],
                **how,
            ),
            MANY,
        )
        assert off(on_grey(found.pixels), head) < 8 and found.note.startswith(
            "Frame 3 of 4" if kind == "WEBP" else "Frame "
        )
        found = decode(saved(head, kind, save_all=True, append_images=[head.rotate(180)], **how), MANY)
        assert off(on_grey(found.pixels), head) < 8 and found.note == "The first of 2 frames was read."
    nothing = decode(
        saved(blank, "WEBP", save_all=True, append_images=[Image.new("RGB", head.size)], lossless=True), MANY
    )
    assert (on_grey(nothing.pixels) == 250).all() and nothing.note == "The first of 2 frames was read."
    found = decode(saved(head, "PNG", save_all=True, append_images=[head.rotate(180)]), MANY)
    assert off(found.pixels, head) == 0 and found.note == "The first of 2 frames was read."


def test_the_main_picture_of_several_is_taken(head: Image.Image) -> None:
    data = saved(
        head.resize((64, 64)),
        "HEIF",
        save_all=True,
        append_images=[head, head.rotate(180)],
        primary_index=1,
        quality=90,
    )
    found = decode(data, MANY)
    assert off(found.pixels, head) < 3 and found.note == "The main one of 3 pictures in the file was read."


# Formats


KINDS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "JPEG2000", "AVIF", "HEIF", "JXL")


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
