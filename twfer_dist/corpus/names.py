"""Which file of a folder a name in someone's table means, however it is spelled there."""

import re
import unicodedata
import urllib.parse
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

EXACT = ""
FORM = "in another Unicode form"
CASE = "ignoring case"
FOLDER = "by file name in another folder"
ENDING = "ignoring the ending"

_ENDING = re.compile(r"\.[A-Za-z][A-Za-z0-9]{1,4}$")


@dataclass(frozen=True)
class Match:
    path: str | None  # of the file, as the folder has it; None if there is none
    how: str = EXACT
    several: tuple[str, ...] = ()  # the files that fit the name equally well, if there are several


def tidy(name: str) -> str:
    """A path as tables write it (of Windows, or a file:// URL) with forward slashes, without "." and double slashes."""
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

    It has the same path; else the same path in another Unicode form; else ignoring case; else the same file name in the
    folders that agree most with the name's, from the end; else the same but for the ending. The last two never match a
    file that another name means too, nor a hidden file: a missing photograph must not become another one.
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
    counts = Counter(fold(name.rpartition("/")[2]) for name in names)
    guesses = {name: search.alike(name, taken, counts[fold(name.rpartition("/")[2])] == 1) for name in rest}
    times = Counter(guess.path for guess in guesses.values())
    return found | {
        name: guess if times[guess.path] == 1 or guess.several else Match(None) for name, guess in guesses.items()
    }


def fold(name: str) -> str:
    """A name in lower case and in one Unicode form."""
    return (
        name.lower() if name.isascii() else unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
    )


def _hidden(name: str) -> bool:
    return any(part.startswith(".") and part != ".." for part in name.split("/"))


class _Search:
    """Files by their paths, names and stems, however these are spelled."""

    def __init__(self, files: Iterable[str]) -> None:
        self.by_form: dict[str, list[str]] = defaultdict(list)
        self.by_case: dict[str, list[str]] = defaultdict(list)
        self.by_last: dict[str, list[str]] = defaultdict(list)
        self.by_stem: dict[str, list[str]] = defaultdict(list)
        self.folders: dict[str, list[str]] = {}  # of each file, folded, from the last
        for file in files:
            folded = fold(file)
            *above, last = folded.split("/")
            self.folders[file] = above[::-1]
            self.by_form[unicodedata.normalize("NFC", file)].append(file)
            self.by_case[folded].append(file)
            self.by_last[last].append(file)
            self.by_stem[last.rpartition(".")[0] or last].append(file)

    def same(self, name: str) -> Match:
        """The file with this path in another spelling."""
        for how, found in (
            (FORM, self.by_form.get(unicodedata.normalize("NFC", name))),
            (CASE, self.by_case.get(fold(name))),
        ):
            if found:
                return Match(found[0], how) if len(found) == 1 else Match(None, how, tuple(sorted(found)))
        return Match(None)

    def alike(self, name: str, taken: set[str | None], alone: bool) -> Match:
        """The file that `name` means in another folder or with another ending. alone: no other name ends in the same
        file name.
        """
        last = fold(name).rpartition("/")[2]
        for how, found in ((FOLDER, self.by_last.get(last)), (ENDING, self.by_stem.get(last))):
            if free := [file for file in found or () if file not in taken]:
                return self._nearest(name, free, how, alone)
        stem = last[: -len(ending.group())] if (ending := _ENDING.search(last)) else last
        free = [file for file in self.by_stem.get(stem, ()) if file not in taken]
        guess = self._nearest(name, free, ENDING, alone)
        return guess if guess.path else Match(None)  # for a missing a.tif, a.jpg and a.png are not alternatives

    def _nearest(self, name: str, files: Sequence[str], how: str, alone: bool) -> Match:
        """The file whose folders agree most with those of `name`, from the end."""
        wanted = fold(name).split("/")[:-1][::-1]
        agreeing: dict[str, int] = {}
        whole: dict[str, bool] = {}
        for file in files:
            pairs = list(zip(wanted, self.folders[file], strict=False))
            agreeing[file] = next((k for k, (a, b) in enumerate(pairs) if a != b), len(pairs))
            whole[file] = agreeing[file] == len(pairs)  # the folders of one end with those of the other
        most = max(agreeing.values(), default=0)
        best = [file for file in files if agreeing[file] == most]
        if len(best) == 1 and (whole[best[0]] or (alone and len(files) == 1)):
            return Match(best[0], how)
        several = [file for file in best if whole[file]]
        return (
            Match(None, how, tuple(sorted(several)))
            if len(several) > 1
            else Match(several[0] if several else None, how)
        )
