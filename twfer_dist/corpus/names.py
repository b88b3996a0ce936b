"""Which file of a folder a name in someone's table means, however it is spelt there."""

import re
import unicodedata
import urllib.parse
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

EXACT = ""
FORM = "in another form of Unicode"
CASE = "without regard to case"
FOLDER = "by file name, in another folder"
ENDING = "without regard to the ending"

_ENDING = re.compile(r"\.[A-Za-z][A-Za-z0-9]{1,4}$")


@dataclass(frozen=True)
class Match:
    path: str | None  # of the file, as the folder has it; None where there is none
    how: str = EXACT
    several: tuple[str, ...] = ()  # the files that fit the name equally well, where there are several


def tidy(name: str) -> str:
    """A path as tables write it (Windows', or a file:// URL), with forward slashes and without "." and doubled
    slashes.
    """
    if name.lower().startswith("file:"):
        name = re.sub(
            r"^/(?=[A-Za-z]:)", "", re.sub("^file:(//[^/]*)?", "", urllib.parse.unquote(name), flags=re.IGNORECASE)
        )
    parts: list[str] = []
    for part in name.replace("\\", "/").split("/"):
        if part == ".." and parts and parts[-1] not in ("", ".."):
            parts.pop()
        elif part not in ("", ".") or not parts and name[:1] in "/\\":
            parts.append(part)
    return "/".join(parts)


def match(names: Iterable[str], files: Iterable[str]) -> dict[str, Match]:
    """The file that each of `names` (see `tidy`) means.

    The same path; else the same in another form of Unicode; else without regard to case; else the file whose path
    agrees with the name's for the most parts from the end; else the same without regard to the ending. A file is never
    taken by its name or its ending alone where another name means it too, and a hidden file never: a missing photograph
    must not become another one.
    """
    names, known = list(dict.fromkeys(names)), set(files)
    found = {name: Match(name) for name in names if name in known}
    rest = [name for name in names if name not in found]
    if not rest:
        return found
    search = _Search(known)
    found |= {name: search.same(name) for name in rest}
    rest = [name for name in rest if not found[name].path and not found[name].several and not _hidden(name)]
    taken = {match.path for match in found.values()}
    asked = Counter(fold(name.rpartition("/")[2]) for name in names)
    guesses = {name: search.alike(name, taken, asked[fold(name.rpartition("/")[2])] == 1) for name in rest}
    times = Counter(guess.path for guess in guesses.values())
    return found | {
        name: guess if times[guess.path] == 1 or guess.several else Match(None) for name, guess in guesses.items()
    }


def fold(name: str) -> str:
    """A name without regard to case and to the form of Unicode."""
    return (
        name.lower() if name.isascii() else unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
    )


def _hidden(name: str) -> bool:
    return any(part.startswith(".") and part != ".." for part in name.split("/"))


class _Search:
    """Files by their paths, names and stems, however these are spelt."""

    def __init__(self, files: Iterable[str]):
        self.by_form: dict[str, list[str]] = defaultdict(list)
        self.by_case: dict[str, list[str]] = defaultdict(list)
        self.by_last: dict[str, list[str]] = defaultdict(list)
        self.by_stem: dict[str, list[str]] = defaultdict(list)
        for file in files:
            folded = fold(file)
            last = folded.rpartition("/")[2]
            self.by_form[unicodedata.normalize("NFC", file)].append(file)
            self.by_case[folded].append(file)
            self.by_last[last].append(file)
            self.by_stem[last.rpartition(".")[0] or last].append(file)

    def same(self, name: str) -> Match:
        """The file with this path but for its spelling."""
        for how, found in (
            (FORM, self.by_form.get(unicodedata.normalize("NFC", name))),
            (CASE, self.by_case.get(fold(name))),
        ):
            if found:
                return Match(found[0], how) if len(found) == 1 else Match(None, how, tuple(sorted(found)))
        return Match(None)

    def alike(self, name: str, taken: set[str | None], alone: bool) -> Match:
        """The file that `name` means with other folders or another ending; `alone`: no other name ends in the same file
        name.
        """
        last = fold(name).rpartition("/")[2]
        for how, found in ((FOLDER, self.by_last.get(last)), (ENDING, self.by_stem.get(last))):
            if free := [file for file in found or () if file not in taken]:
                return _nearest(name, free, how, alone)
        stem = last[: -len(ending.group())] if (ending := _ENDING.search(last)) else last
        free = [file for file in self.by_stem.get(stem, ()) if file not in taken]
        guess = _nearest(name, free, ENDING, alone)
        return guess if guess.path else Match(None)  # a missing a.tif is no question of a.jpg or a.png


def _nearest(name: str, files: Sequence[str], how: str, alone: bool) -> Match:
    """The file whose folders agree with those of `name` for the most parts from the end."""
    wanted = fold(name).split("/")[:-1][::-1]
    agreeing: dict[str, int] = {}
    whole: dict[str, bool] = {}
    for file in files:
        folders = fold(file).split("/")[:-1][::-1]
        pairs = list(zip(wanted, folders, strict=False))
        agreeing[file] = next((k for k, (a, b) in enumerate(pairs) if a != b), len(pairs))
        whole[file] = agreeing[file] == len(pairs)  # the folders of one are the last of the other's
    best = [file for file in files if agreeing[file] == max(agreeing.values())]
    if len(best) == 1 and (whole[best[0]] or (alone and len(files) == 1)):
        return Match(best[0], how)
    several = [file for file in best if whole[file]]
    return Match(None, how, tuple(sorted(several))) if len(several) > 1 else Match(several[0] if several else None, how)
