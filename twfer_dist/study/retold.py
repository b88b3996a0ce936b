"""Sentences that earlier stages wrote into their tables, in English, told in the language of the page."""

import functools
import re
from collections.abc import Iterator

from twfer_dist.core.language import LANGUAGES, _, current_language, mark

SENTENCES = (
    mark("No Action Units are given."),
    mark("The face's points were not found."),
    mark(
        "The face's points are uncertain: the expected error is {error} of the distance between the eyes, more than "
        "{limit}."
    ),
    mark("The face is turned away: {yaw} degrees sideways and {pitch} up or down, more than {limit}."),
    mark("The face is too blurred: its sharpness is {sharpness}, and {least} is needed."),
    mark("The face is too small: its eyes are {pixels} pixels apart, and {least} are needed."),
    mark("The photograph cuts off {parts}: {percent} % of the points lie outside it."),
    mark("{detector} found no face of about {pixels} pixels or larger in {size} pixels."),
    mark("the photograph has {size}, and a face needs at least {least}."),
    mark("there is no file at this path."),
    mark("the file is empty."),
    mark("the file is not an image in a supported format, or its header is damaged."),
    mark("the file's permissions forbid reading it."),
    mark("the image could not be decoded: {reason}."),
    mark("the image has {width} x {height} pixels, more than {most} in all."),
    mark("the path leads outside the corpus (by '..', '/' or a link), so the file was not opened."),
    mark("columns were read as: {columns}"),
    mark("{n} file was ignored: {files}"),
    mark("{n} files were ignored: {files}"),
    mark("{n} of {rows} rows give no {column} (the field is empty, -, ?, n/a or unknown)"),
    mark("annotators tie on {n} photographs, of which {unlabelled} have no label: {photographs}"),
    mark("{annotators} annotators agree {how} on {n} photographs (Krippendorff's alpha {alpha}, {interval})"),
    mark("no YuNet model file is given or cached; the best that a package carries"),
    mark("the best detector, downloaded before"),
    mark("none: the photographs are aligned crops"),
)
"""What is told in other languages; anything else stays as it was written."""


def retold(text: str) -> str:
    """The text with the sentences that are known in the current language."""
    if current_language() == LANGUAGES[0]:
        return text
    for pattern, message in _patterns():
        text = pattern.sub(lambda found, message=message: _(message, **found.groupdict()), text)  # type: ignore[misc]
    return re.sub("(?<=。) ", "", text)


@functools.cache
def _patterns() -> list[tuple[re.Pattern[str], str]]:
    """What matches each message."""
    return [(re.compile("".join(_parts(message))), message) for message in SENTENCES]


_NUMBERS = ("n", "annotators")


def _parts(message: str) -> Iterator[str]:
    """The pieces of a message's pattern. A value ends where the words after it begin, or at the end of its line."""
    *pairs, end = re.split(r"\{(\w+)\}", message)
    for words, name in zip(pairs[::2], pairs[1::2], strict=True):
        last = not end and name == pairs[-1]
        value = r"[\d,]+" if name in _NUMBERS else r"\S.*" if last else r"[^:\s][^:\n]*?"
        yield f"{re.escape(words)}(?P<{name}>{value})"
    yield re.escape(end)
