"""The text of a table in whatever encoding its program wrote it."""

import codecs
import unicodedata
from collections.abc import Collection, Iterable
from itertools import islice

import charset_normalizer

from twfer_dist.core.errors import UserError

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CANDIDATES = {
    "cp1252": "Windows-1252",
    "gb18030": "GB18030",
    "mac_roman": "Mac Roman",
    "big5": "Big5",
    "cp932": "Shift JIS",
    "cp949": "Korean (CP949)",
    "cp1250": "Windows-1250",
    "cp1251": "Windows-1251",
}
"""What programs write that do not write Unicode; of encodings that fit equally well, the first."""

_NAMES_ASKED = 500


def decode(data: bytes, place: str, names: Iterable[str], words: Collection[str]) -> tuple[str, str]:
    """The text of `data`, and the encoding where it is not UTF-8 (else empty).

    A byte order mark is trusted first, then valid UTF-8. Of other encodings the one stands in which most of `names`
    (files that the text may name) are found, then most of `words`, then the one that charset-normalizer finds most like
    language. Problem where `data` is no text, or UTF-8 but for a few places.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return _strictly(data, encoding, place), "" if encoding == "utf-8-sig" else encoding.upper()
    if b"\0" in data:
        encoding = "utf-16-le" if data[1::2].count(0) >= data[::2].count(0) else "utf-16-be"
        return _strictly(data, encoding, place), encoding.upper()
    try:
        return data.decode(), ""
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
    texts = {encoding: text for encoding in _CANDIDATES if (text := _try(data, encoding)) is not None}
    if not texts:
        raise UserError(
            f"{place}, line {line}: the text is in no encoding that is known here; save the table as CSV in UTF-8."
        )
    foreign = list(islice((unicodedata.normalize("NFC", n) for n in names if not n.isascii()), _NAMES_ASKED))
    known = [word for word in words if not word.isascii()]
    evidence = {e: (sum(n in t for n in foreign), sum(w in t for w in known)) for e, t in texts.items()}
    best = max(evidence.values())
    if best == (0, 0):
        _not_almost_utf8(data, place, line)
    likely = [e for e in texts if evidence[e] == best]
    encoding = likely[0] if len(likely) == 1 else _most_like_language(data, likely)
    return texts[encoding], _CANDIDATES[encoding]


def _strictly(data: bytes, encoding: str, place: str) -> str:
    text = _try(data, encoding)
    if text is None or "\0" in text:
        raise UserError(f"{place} is no text table: save it as CSV in UTF-8, or as .xlsx.")
    return text


def _try(data: bytes, encoding: str) -> str | None:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return None


def _not_almost_utf8(data: bytes, place: str, line: int) -> None:
    text = data.decode(errors="replace")
    faults = text.count("\ufffd")
    if sum(not c.isascii() for c in text) - faults >= 4 * faults:
        raise UserError(
            f"{place}, line {line}: a character is not UTF-8, and the rest of the table is; type it again and save "
            "as UTF-8."
        )


def _most_like_language(data: bytes, encodings: list[str]) -> str:
    matches = charset_normalizer.from_bytes(data, cp_isolation=encodings, threshold=1.0)
    found = {
        e: (round(m.chaos, 2), -m.coherence, encodings.index(e))
        for m in matches
        for e in encodings
        if e in m.could_be_from_charset
    }
    return min(found, key=lambda e: found[e], default=encodings[0])
