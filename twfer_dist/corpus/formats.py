"""The image formats that can be read: their endings, how their files begin, and which library reads them."""

import re
from dataclasses import dataclass
from importlib.metadata import version

from PIL import AvifImagePlugin, Image, features

from twfer_dist.corpus.video import VIDEO_ENDINGS


@dataclass(frozen=True)
class Format:
    """An image format."""

    name: str  # as Pillow calls it
    endings: tuple[str, ...]
    start: re.Pattern[bytes]  # matches the first bytes of its files


def _format(name: str, endings: str, start: bytes) -> Format:
    return Format(name, tuple(endings.split()), re.compile(start, re.DOTALL))


_KNOWN = (
    _format("JPEG", ".jpg .jpeg .jpe .jfif .jif .jfi .pjpeg .pjp .mpo", rb"\xff\xd8\xff"),
    _format("PNG", ".png .apng", rb"\x89PNG\r\n\x1a\n"),
    _format("WEBP", ".webp", rb"RIFF....WEBP"),
    _format("GIF", ".gif", rb"GIF8[79]a"),
    _format("TIFF", ".tif .tiff", rb"II\*\0|MM\0\*|II\+\0|MM\0\+|II\0\*|MM\*\0"),
    _format("BMP", ".bmp .dib", rb"BM....\0\0\0\0"),
    _format("PPM", ".ppm .pgm .pbm .pnm", rb"P[1-6]\s+(#[^\n]*\n\s*)*\d"),
    _format("JPEG2000", ".jp2 .j2k .j2c .jpc .jpf .jpx", rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51"),
    _format("AVIF", ".avif", rb"....ftyp(avi[fs]|(mif1|msf1|miaf)....(....){0,12}?avi[fs])"),
    _format("HEIF", ".heic .heif .hif", rb"....ftyp(he[iv][cxms]|mif1|msf1)"),
    _format("JXL", ".jxl", rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n"),
)

HEAD = 256
"""The bytes at the start of a file that are enough to tell its format."""

_INSTALL = "run pip install pillow-heif pillow-jxl-plugin"
_UPDATE = "run pip install --force-reinstall pillow"


def _set_up() -> tuple[dict[str, str], dict[str, str]]:
    """The version of each library that reads formats, and for each format without a library, how to install one."""
    Image.init()
    versions = {"pillow": version("pillow")}
    missing = {}
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # workers already run side by side
    if not features.check("avif"):
        missing["AVIF"] = _UPDATE
    if not features.check("jpg_2000"):
        missing["JPEG2000"] = _UPDATE
    try:
        import pillow_heif

        pillow_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)
        versions["pillow-heif"] = version("pillow-heif")
    except ImportError:
        missing["HEIF"] = _INSTALL
    try:
        from pillow_jxl import JpegXLImagePlugin

        JpegXLImagePlugin.DECODE_THREADS = 0
        versions["pillow-jxl-plugin"] = version("pillow-jxl-plugin")
    except ImportError:
        missing["JXL"] = _INSTALL
    return versions, missing


VERSIONS, MISSING = _set_up()

IMAGE_ENDINGS = tuple(ending for known in _KNOWN if known.name not in MISSING for ending in known.endings)
"""The endings of the images that can be read, in lower case."""

_OTHERS = (
    ".psd .psb .xcf .ai .eps .svg .pdf .tga .pcx .ico .exr .hdr "
    ".dng .cr2 .cr3 .crw .nef .nrw .arw .srf .sr2 .raf .orf .rw2 .pef .srw .3fr .iiq .raw"
)
_NOT_READ = {ending: MISSING[known.name] for known in _KNOWN if known.name in MISSING for ending in known.endings}
_NOT_READ |= dict.fromkeys(_OTHERS.split(), "save them as JPEG, PNG or TIFF")
_NOT_READ |= dict.fromkeys(VIDEO_ENDINGS, "twfer corpus frames takes frames from videos")

_ENDING = re.compile(r"(?<=[^/])\.(?=[^./]*[A-Za-z~])[\w~]{1,12}$", re.ASCII)


def format_of(data: bytes) -> str | None:
    """Pillow's name for the format of a file that begins with `data`, by content alone; None if it is not a known image
    format.
    """
    return next((known.name for known in _KNOWN if known.start.match(data[:HEAD])), None)


def ending_of(path: str) -> str:
    """The ending of a file's name in lower case, with its dot; empty for a name without one, such as "St. Peter" or
    "head 1.2".
    """
    ending = _ENDING.search(path)
    return ending[0].lower() if ending else ""


def remedy_for(ending: str) -> str | None:
    """How to make images with this ending readable; None if they can be read already, or it is not an image's."""
    return _NOT_READ.get(ending)
