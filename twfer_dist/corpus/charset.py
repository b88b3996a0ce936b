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
"""The encodings of programs that do not write Unicode; of those that fit equally well, the first."""

_MOST_NAMES = 500


def decode(data: bytes, uri: str, names: Iterable[str], words: Collection[str]) -> tuple[str, str]:
    """The text of `data`, and the name of its encoding if it is not UTF-8 (else empty).

    A byte order mark is trusted first, then valid UTF-8. Otherwise the encoding is the one in which most of `names`
    (files that the text may mention) are found, then most of `words`, then the one whose text charset-normalizer finds
    most like language. UserError where `data` is not text, or is UTF-8 but for a few characters.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return _decode_strictly(data, encoding, uri), "" if encoding == "utf-8-sig" else encoding.upper()
    if b"\0" in data:
        encoding = "utf-16-le" if data[1::2].count(0) >= data[::2].count(0) else "utf-16-be"
        return _decode_strictly(data, encoding, uri), encoding.upper()
    try:
        return data.decode(), ""
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
    texts = {encoding: text for encoding in _CANDIDATES if (text := _try_decode(data, encoding)) is not None}
    if not texts:
        raise UserError(f"{uri}, line {line}: the encoding of the text is unknown; save the table as CSV in UTF-8.")
    foreign = list(islice((unicodedata.normalize("NFC", n) for n in names if not n.isascii()), _MOST_NAMES))
    known = [word for word in words if not word.isascii()]
    evidence = {e: (sum(n in t for n in foreign), sum(w in t for w in known)) for e, t in texts.items()}
    best = max(evidence.values())
    if best == (0, 0):
        _refuse_damaged_utf8(data, uri, line)
    likely = [e for e in texts if evidence[e] == best]
    encoding = likely[0] if len(likely) == 1 else _most_like_language(data, likely)
    return texts[encoding], _CANDIDATES[encoding]


def _decode_strictly(data: bytes, encoding: str, uri: str) -> str:
    text = _try_decode(data, encoding)
    if text is None or "\0" in text:
        raise UserError(f"{uri} is not a text table: save it as CSV in UTF-8, or as .xlsx.")
    return text


def _try_decode(data: bytes, encoding: str) -> str | None:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return None


def _refuse_damaged_utf8(data: bytes, uri: str, line: int) -> None:
    text = data.decode(errors="replace")
    faults = text.count("\ufffd")
    if sum(not c.isascii() for c in text) - faults >= 4 * faults:
        raise UserError(
            f"{uri}, line {line}: a character is not UTF-8 although the rest of the table is; retype it and save "
            "the table as UTF-8."
        )


def _most_like_language(data: bytes, encodings: list[str]) -> str:
    matches = charset_normalizer.from_bytes(data, cp_isolation=encodings, threshold=1.0)
    ranks = {
        encoding: (round(match.chaos, 2), -match.coherence, encodings.index(encoding))
        for match in matches
        for encoding in encodings
        if encoding in match.could_be_from_charset
    }
    return min(ranks, key=lambda encoding: ranks[encoding], default=encodings[0])
