"""From a stranger's file to an upright picture: what is read, what is refused, and the words for it."""

import io
import warnings

import numpy as np
import pyarrow.fs as pafs
from PIL import Image, ImageOps, UnidentifiedImageError

from twfer_dist import storage
from twfer_dist.corpus.files import locate

MISSING = "missing"
OUTSIDE = "outside_corpus"
UNREADABLE = "unreadable"
UNREACHABLE = "unreachable"
TOO_LARGE = "too_large"
TOO_SMALL = "too_small"
NO_FACE = "no_face"
"""The statuses of a photograph beside schema.OK."""

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP")
"""The formats that are opened. Pillow knows many more, some of which start other programs."""

GREY = 128
"""What stands behind transparent pixels."""

Image.init()  # load the readers of all of them

_BYTES_PER_PIXEL = 8  # of an uncompressed file with four channels of 16 bits: no honest file is larger


class Refused(Exception):
    """Why a file gives no picture: a status of the list above and a sentence."""

    def __init__(self, status: str, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


def read(root: str, path: str, max_pixels: int) -> bytes:
    """The bytes of the photograph at `path` (forward slashes) of the corpus at `root` (a path or URI).

    Refused where there is no such file; where the path leads out of the corpus: such a file is never opened; where the
    file is larger than a picture of `max_pixels` can be; and where the storage fails again and again (see storage.patiently).
    """
    try:
        fs, place = locate(root, path)
    except ValueError:
        raise Refused(OUTSIDE, "its path leads out of the corpus, by '..', from '/' or through a link, and was not opened.") from None
    try:
        return storage.patiently(lambda: _read(fs, place, max_pixels))
    except FileNotFoundError:
        raise Refused(MISSING, "there is no file at this path.") from None
    except PermissionError:
        raise Refused(UNREADABLE, "the file may not be read: its permissions forbid it.") from None
    except OSError as error:
        words = " ".join(str(error).split())
        raise Refused(UNREACHABLE, f"the storage did not give the file, {1 + len(storage.WAITS)} times: {words}.") from None


def _read(fs: pafs.FileSystem, place: str, max_pixels: int) -> bytes:
    info = fs.get_file_info(place)
    if info.type == pafs.FileType.NotFound:
        raise FileNotFoundError(place)
    if info.type != pafs.FileType.File:  # a directory; or a pipe, which could keep a reader waiting for ever
        raise Refused(UNREADABLE, "the path names something that is not a file.")
    if info.size > max_pixels * _BYTES_PER_PIXEL:
        raise Refused(TOO_LARGE, f"the file has {info.size} bytes, more than a picture of {max_pixels} pixels needs.")
    with fs.open_input_stream(place) as stream:
        return stream.read()


def decode(data: bytes, max_pixels: int) -> np.ndarray:
    """The picture in `data` as it is to be seen: uint8 (height, width, 3) RGB, or (height, width, 4) where it has transparency.

    The number of pixels is taken from the header and checked before anything is decoded. EXIF orientation is applied. 16 bits
    a channel are scaled to 8. Palettes, grey and CMYK become RGB (without a colour profile). Of an animation the first
    frame is taken. A file that is cut off or damaged is refused, not half read.
    """
    if not data:
        raise Refused(UNREADABLE, "the file is empty.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's words on large and untidy files: the bound is ours, the rest no fault
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                if image.width * image.height > max_pixels:
                    raise Refused(TOO_LARGE, f"it has {image.width} x {image.height} pixels, more than {max_pixels}.")
                ImageOps.exif_transpose(image, in_place=True)
                return np.asarray(_eight_bits(image))
    except Refused:
        raise
    except Image.DecompressionBombError:
        raise Refused(TOO_LARGE, f"it has more than {max_pixels} pixels.") from None
    except UnidentifiedImageError:
        raise Refused(UNREADABLE, "it is no picture in a format that is read here, or its header is damaged.") from None
    except Exception as error:  # a decoder that is fed damaged bytes may raise nearly anything
        raise Refused(UNREADABLE, f"it could not be decoded: {error}.") from None


def _eight_bits(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F"):
        raise Refused(UNREADABLE, "its pixels have 32 bits, and which value is white is not known: save it with 8 or 16.")
    if image.mode.startswith("I;16"):  # Pillow would clip at 255
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    mode = "RGBA" if image.has_transparency_data else "RGB"
    return image if image.mode == mode else image.convert(mode)


def on_grey(picture: np.ndarray) -> np.ndarray:
    """RGB: transparent pixels, whose own colours are often rubbish, give way to a grey ground."""
    if picture.shape[2] == 3:
        return picture
    alpha = picture[..., 3:].astype(np.uint16)
    return ((picture[..., :3] * alpha + GREY * (255 - alpha) + 127) // 255).astype(np.uint8)
