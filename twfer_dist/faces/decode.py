"""From a stranger's file to an upright image: what is read, what is refused, and why, in words."""

import contextlib
import io
import warnings
from dataclasses import dataclass

import numpy as np
import pyarrow.fs as pafs
from PIL import Image, UnidentifiedImageError

from twfer_dist.core.status import MISSING, OUTSIDE, TOO_LARGE, UNREACHABLE, UNREADABLE
from twfer_dist.corpus.files import locate
from twfer_dist.corpus.formats import MISSING as NO_READER
from twfer_dist.corpus.formats import format_of
from twfer_dist.engine import storage
from twfer_dist.faces.containers import Content, content, jxl_size, orientation, without_end

GREY = 128
"""The background behind transparent pixels."""

_BYTES_PER_PIXEL = 8  # of an uncompressed file with four channels of 16 bits: no honest file is larger

_MAX_BLANK_FRAMES = 20  # of an animation, searched for one that shows something
_FLAT = 8  # grey levels between the darkest and the lightest pixel of a blank frame


@dataclass(frozen=True)
class Picture:
    """A decoded, upright photograph."""

    pixels: np.ndarray  # uint8 (height, width, 3) RGB, or (height, width, 4) with transparency
    note: str  # which of several pages or frames was read, and the like, in sentences; mostly empty


class DecodeError(Exception):
    """Why a file cannot be used: a status of `core.status` and a sentence."""

    def __init__(self, status: str, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


def read(root: str, path: str, max_pixels: int) -> bytes:
    """The bytes of the photograph at `path` (forward slashes) of the corpus at `root` (a path or URI).

    DecodeError where the path leads outside the corpus (such a file is never opened), where there is no such file,
    where the file is larger than an image of `max_pixels` can be, and where storage fails in every attempt
    (`storage.with_retries`).
    """
    try:
        fs, location = locate(root, path)
    except ValueError:
        raise DecodeError(
            OUTSIDE, "the path leads outside the corpus (by '..', '/' or a link), so the file was not opened."
        ) from None
    try:
        return storage.with_retries(lambda: _read(fs, location, max_pixels))
    except FileNotFoundError:
        raise DecodeError(MISSING, "there is no file at this path.") from None
    except PermissionError:
        raise DecodeError(UNREADABLE, "the file's permissions forbid reading it.") from None
    except OSError as error:
        reason = " ".join(str(error).split())
        attempts = 1 + len(storage.RETRY_DELAYS_S)
        raise DecodeError(UNREACHABLE, f"storage did not deliver the file in {attempts} attempts: {reason}.") from None


def _read(fs: pafs.FileSystem, path: str, max_pixels: int) -> bytes:
    info = fs.get_file_info(path)
    if info.type == pafs.FileType.NotFound:
        raise FileNotFoundError(path)
    if info.type != pafs.FileType.File:  # a directory, or a pipe, which could block a reader indefinitely
        raise DecodeError(UNREADABLE, "the path is not a regular file.")
    if info.size > max_pixels * _BYTES_PER_PIXEL:
        raise DecodeError(TOO_LARGE, f"the file has {info.size} bytes, more than {max_pixels} pixels need.")
    with fs.open_input_stream(path) as stream:
        return stream.read()


def decode(data: bytes, max_pixels: int) -> Picture:
    """The photograph in `data`, whatever its file is called; DecodeError where it cannot be read.

    The number of pixels is checked from the header before anything is decoded. EXIF orientation is applied; all other
    metadata is ignored. 16-bit channels are scaled to 8 bits. Palettes, grey and CMYK become RGB (without colour
    profiles). Of several pages the largest is read, of an animation the first frame that is not blank, and the note
    says so. A truncated or damaged file is refused, never read in part.
    """
    if not data:
        raise DecodeError(UNREADABLE, "the file is empty.")
    kind = format_of(data)
    if kind is None:
        raise DecodeError(UNREADABLE, "the file is not an image in a supported format, or its header is damaged.")
    if kind in NO_READER:
        raise DecodeError(UNREADABLE, f"{kind} images cannot be read by this installation: {NO_READER[kind]}.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, on large and untidy files: the size is checked here
            return _decode(kind, content(kind, data), max_pixels)
    except DecodeError:
        raise
    except Image.DecompressionBombError:
        raise DecodeError(TOO_LARGE, f"the image has more than {max_pixels} pixels.") from None
    except UnidentifiedImageError:
        raise DecodeError(UNREADABLE, f"the {kind} header is damaged.") from None
    except Exception as error:  # a decoder may raise nearly anything on damaged bytes
        reason = (str(error).splitlines() or [type(error).__name__])[0].strip(" .")
        reason = "its data is damaged or truncated" if kind == "JXL" else reason  # the plugin describes its own build
        raise DecodeError(UNREADABLE, f"the image could not be decoded: {reason}.") from None


def _decode(kind: str, file: Content, max_pixels: int) -> Picture:
    if kind == "JXL":  # opening it decodes it
        _check_size(*jxl_size(file.data), max_pixels)
    try:
        return _open(kind, file.data, file, max_pixels)
    except OSError:
        ended = without_end(file.data) if kind == "JPEG" else None
        if ended is None:
            raise
        with contextlib.suppress(OSError):
            one, other = (_open(kind, data, file, max_pixels).pixels for data in ended)
            if np.array_equal(one, other):
                return Picture(one, "The file is truncated after its last pixel; the image is complete.")
        raise


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise DecodeError(TOO_LARGE, f"the image has {width} x {height} pixels, more than {max_pixels} in all.")


def _open(kind: str, data: bytes, file: Content, max_pixels: int) -> Picture:
    with Image.open(io.BytesIO(data), formats=(kind,)) as image:
        _check_size(image.width, image.height, max_pixels)
        turned = file.orientation
        if kind in ("WEBP", "AVIF") or (kind == "JXL" and image.jpeg):  # type: ignore[attr-defined]
            turned = orientation(image.info.get("exif") or b"")
        pixels, frame = _first_frame(image, file)
        frames = max(file.count, getattr(image, "n_frames", 1))
        return Picture(np.ascontiguousarray(_upright(pixels, turned)), _note(kind, frame, frames, file))


def _first_frame(image: Image.Image, file: Content) -> tuple[np.ndarray, int]:
    """The pixels and the number of the first frame that is not blank; of the very first where all are blank."""
    first = _eight_bits(image, file)
    if not getattr(image, "is_animated", False) or image.format in ("HEIF", "TIFF") or not _is_blank(first):
        return first, 0
    for frame in range(1, min(image.n_frames, _MAX_BLANK_FRAMES)):  # type: ignore[attr-defined]
        try:
            image.seek(frame)
            pixels = _eight_bits(image, file)
        except Exception:  # a later frame is damaged; the first was not
            break
        if not _is_blank(pixels):
            return pixels, frame
    return first, 0


def _is_blank(pixels: np.ndarray) -> bool:
    visible = on_grey(pixels).reshape(-1, 3)
    return bool((visible.max(0) - visible.min(0)).max() <= _FLAT)


def _note(kind: str, frame: int, count: int, file: Content) -> str:
    if file.is_preview:
        return "Only the preview in this file was read: save the photograph as JPEG, PNG or TIFF to use it in full."
    if count == 1:
        return ""
    if kind == "TIFF":
        return f"The {'largest' if file.largest else 'first'} of {count} pages was read."
    if kind == "HEIF":
        return f"The primary image of {count} in the file was read."
    if frame:
        return f"Frame {frame + 1} of {count} was read; the earlier ones are blank."
    return f"The first of {count} frames was read."


def _upright(pixels: np.ndarray, exif_orientation: int) -> np.ndarray:
    if exif_orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if exif_orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels[:, ::-1] if exif_orientation in (2, 3, 6, 7) else pixels


def _eight_bits(image: Image.Image, file: Content) -> np.ndarray:
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):  # Pillow would clip at 255
        grey = (np.asarray(image) >> (file.bits - 8)).astype(np.uint8)
        return np.repeat((255 - grey if file.white_is_zero else grey)[..., None], 3, 2)
    if image.mode in ("I", "F"):
        raise DecodeError(UNREADABLE, "its pixels have 32 bits without a defined white: save it with 8 or 16 bits.")
    if image.mode == "La":
        image = image.convert("LA")
    mode = "RGBA" if image.has_transparency_data else "RGB"
    return np.asarray(image if image.mode == mode else image.convert(mode))


def on_grey(pixels: np.ndarray) -> np.ndarray:
    """RGB pixels: transparent ones, whose hidden colours are often arbitrary, blended with a grey background."""
    if pixels.shape[2] == 3:
        return pixels
    alpha = pixels[..., 3:].astype(np.uint16)
    return ((pixels[..., :3] * alpha + GREY * (255 - alpha) + 127) // 255).astype(np.uint8)
