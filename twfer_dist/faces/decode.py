"""From a stranger's file to an upright picture: what is read, what is refused, and the words for it."""

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
"""What stands behind transparent pixels."""

_BYTES_PER_PIXEL = 8  # of an uncompressed file with four channels of 16 bits: no honest file is larger

_MOST_BLANK = 20  # so many frames of an animation are looked at for one that shows something
_FLAT = 8  # grey levels between the darkest and the lightest pixel of a frame that shows nothing


@dataclass(frozen=True)
class Picture:
    """A photograph as it is to be seen."""

    pixels: np.ndarray  # uint8 (height, width, 3) RGB, or (height, width, 4) where it has transparency
    note: str  # what was taken of several pages or frames, and the like, in sentences; mostly empty


class DecodeError(Exception):
    """Why a file gives no picture: a status of the list above and a sentence."""

    def __init__(self, status: str, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


def read(root: str, path: str, max_pixels: int) -> bytes:
    """The bytes of the photograph at `path` (forward slashes) of the corpus at `root` (a path or URI).

    Refused where there is no such file; where the path leads out of the corpus: such a file is never opened; where the
    file is larger than a picture of `max_pixels` can be; and where the storage fails again and again (see
    storage.patiently).
    """
    try:
        fs, place = locate(root, path)
    except ValueError:
        raise DecodeError(
            OUTSIDE, "its path leads out of the corpus, by '..', from '/' or through a link, and was not opened."
        ) from None
    try:
        return storage.with_retries(lambda: _read(fs, place, max_pixels))
    except FileNotFoundError:
        raise DecodeError(MISSING, "there is no file at this path.") from None
    except PermissionError:
        raise DecodeError(UNREADABLE, "the file may not be read: its permissions forbid it.") from None
    except OSError as error:
        words = " ".join(str(error).split())
        raise DecodeError(
            UNREACHABLE, f"the storage did not give the file, {1 + len(storage.RETRY_DELAYS_S)} times: {words}."
        ) from None


def _read(fs: pafs.FileSystem, place: str, max_pixels: int) -> bytes:
    info = fs.get_file_info(place)
    if info.type == pafs.FileType.NotFound:
        raise FileNotFoundError(place)
    if info.type != pafs.FileType.File:  # a directory; or a pipe, which could keep a reader waiting for ever
        raise DecodeError(UNREADABLE, "the path names something that is not a file.")
    if info.size > max_pixels * _BYTES_PER_PIXEL:
        raise DecodeError(
            TOO_LARGE, f"the file has {info.size} bytes, more than a picture of {max_pixels} pixels needs."
        )
    with fs.open_input_stream(place) as stream:
        return stream.read()


def decode(data: bytes, max_pixels: int) -> Picture:
    """The picture in `data`, whatever the name of its file.

    The number of pixels is taken from the header and checked before anything is decoded. Of EXIF the orientation is
    taken and applied; nothing else that is not pixels is looked at. 16 bits a channel are scaled to 8. Palettes, grey
    and CMYK become RGB (without a colour profile). Of several pages the largest is taken, of an animation the first
    frame that is not blank, and the note says so. A file that is cut off or damaged is refused, not half read.
    """
    if not data:
        raise DecodeError(UNREADABLE, "the file is empty.")
    kind = format_of(data)
    if kind is None:
        raise DecodeError(UNREADABLE, "it is no picture in a format that is read here, or its header is damaged.")
    if kind in NO_READER:
        raise DecodeError(UNREADABLE, f"nothing here reads {kind} pictures: {NO_READER[kind]}.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # Pillow's words on large and untidy files: the bound is ours, the rest no fault
            return _decode(kind, content(kind, data), max_pixels)
    except DecodeError:
        raise
    except Image.DecompressionBombError:
        raise DecodeError(TOO_LARGE, f"it has more than {max_pixels} pixels.") from None
    except UnidentifiedImageError:
        raise DecodeError(UNREADABLE, f"its header ({kind}) is damaged.") from None
    except Exception as error:  # a decoder that is fed damaged bytes may raise nearly anything
        words = (str(error).splitlines() or [type(error).__name__])[0].strip(" .")
        words = "its data is damaged or cut off" if kind == "JXL" else words  # its plugin speaks of how it was built
        raise DecodeError(UNREADABLE, f"it could not be decoded: {words}.") from None


def _decode(kind: str, found: Content, max_pixels: int) -> Picture:
    if kind == "JXL":  # opening it decodes it
        _check_size(*jxl_size(found.data), max_pixels)
    try:
        return _open(kind, found.data, found, max_pixels)
    except OSError:
        ended = without_end(found.data) if kind == "JPEG" else None
        if ended is None:
            raise
        with contextlib.suppress(OSError):
            one, other = (_open(kind, data, found, max_pixels).pixels for data in ended)
            if np.array_equal(one, other):
                return Picture(one, "The file lacks its end; all pixels are there.")
        raise


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise DecodeError(TOO_LARGE, f"it has {width} x {height} pixels, more than {max_pixels}.")


def _open(kind: str, data: bytes, found: Content, max_pixels: int) -> Picture:
    with Image.open(io.BytesIO(data), formats=(kind,)) as image:
        _check_size(image.width, image.height, max_pixels)
        turned = found.orientation
        if kind in ("WEBP", "AVIF") or (kind == "JXL" and image.jpeg):  # type: ignore[attr-defined]
            turned = orientation(image.info.get("exif") or b"")
        pixels, frame = _first_frame(image, found)
        frames = max(found.count, getattr(image, "n_frames", 1))
        return Picture(np.ascontiguousarray(_upright(pixels, turned)), _note(kind, frame, frames, found))


def _first_frame(image: Image.Image, found: Content) -> tuple[np.ndarray, int]:
    """The pixels of the first frame that is not blank, and its number; of the first one where all are."""
    first = _eight_bits(image, found)
    if not getattr(image, "is_animated", False) or image.format in ("HEIF", "TIFF") or not _is_blank(first):
        return first, 0
    for frame in range(1, min(image.n_frames, _MOST_BLANK)):  # type: ignore[attr-defined]
        try:
            image.seek(frame)
            pixels = _eight_bits(image, found)
        except Exception:  # what comes later is damaged: the first frame was not
            break
        if not _is_blank(pixels):
            return pixels, frame
    return first, 0


def _is_blank(pixels: np.ndarray) -> bool:
    seen = on_grey(pixels).reshape(-1, 3)
    return bool((seen.max(0) - seen.min(0)).max() <= _FLAT)


def _note(kind: str, frame: int, count: int, found: Content) -> str:
    if found.is_preview:
        return "A preview in the file was read: for the picture itself, save it as JPEG, PNG or TIFF."
    if count == 1:
        return ""
    if kind == "TIFF":
        return f"The {'largest' if found.largest else 'first'} of {count} pages was read."
    if kind == "HEIF":
        return f"The main one of {count} pictures in the file was read."
    if frame:
        return f"Frame {frame + 1} of {count} was read: those before it are blank."
    return f"The first of {count} frames was read."


def _upright(pixels: np.ndarray, turned: int) -> np.ndarray:
    if turned >= 5:
        pixels = pixels.swapaxes(0, 1)
    if turned in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels[:, ::-1] if turned in (2, 3, 6, 7) else pixels


def _eight_bits(image: Image.Image, found: Content) -> np.ndarray:
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):  # Pillow would clip at 255
        grey = (np.asarray(image) >> (found.bits - 8)).astype(np.uint8)
        return np.repeat((255 - grey if found.white_is_zero else grey)[..., None], 3, 2)
    if image.mode in ("I", "F"):
        raise DecodeError(
            UNREADABLE, "its pixels have 32 bits, and which value is white is not known: save it with 8 or 16."
        )
    if image.mode == "La":
        image = image.convert("LA")
    mode = "RGBA" if image.has_transparency_data else "RGB"
    return np.asarray(image if image.mode == mode else image.convert(mode))


def on_grey(picture: np.ndarray) -> np.ndarray:
    """RGB: transparent pixels, whose own colours are often rubbish, give way to a grey ground."""
    if picture.shape[2] == 3:
        return picture
    alpha = picture[..., 3:].astype(np.uint16)
    return ((picture[..., :3] * alpha + GREY * (255 - alpha) + 127) // 255).astype(np.uint8)
