"""The language of the words that people read.

The message ids are whole English sentences with named placeholders; the catalogs in `languages/*.po` translate them:

    _("{n:,} of {total:,} faces have an answer.", n=k, total=n)
    ngettext("{n:,} face was found.", "{n:,} faces were found.", k)

The language is that of the surrounding `use_language`, and English outside of any. A message without a translation
stays English. Tables and JSON hold no translated words: a sentence is made from the numbers when the page is written.
A term that comes as a value (an expression, a status) is translated where it is shown, `_(name)`, and marked where it
is written, `mark("...")`, so that the catalogs have it.

Templates have the same functions, and no `{% trans %}` blocks: `{{ _("...", n=k) }}`. There a message is HTML, always
written out as a literal, and its values are escaped; a term that comes as a value is `{{ name|term }}`. Each message is
one or a few whole sentences; messages are joined by `sentences`, because Chinese puts no space between sentences.

`make docs` brings the catalogs up to date with the sources (docs/catalogs.py).
"""

import functools
import io
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import resources
from typing import Any, Literal, get_args

import jinja2
from babel.lists import format_list
from babel.messages.pofile import read_po
from markupsafe import Markup

from twfer_dist.core.errors import UserError

Language = Literal["en", "zh"]
LANGUAGES: tuple[str, ...] = get_args(Language)
"""The languages by their ISO 639 code, English first."""

_LOCALES = {"en": "en_GB", "zh": "zh"}
_BETWEEN_SENTENCES = {"en": " ", "zh": ""}
_current: ContextVar[str] = ContextVar("language", default=LANGUAGES[0])


@contextmanager
def use_language(code: str) -> Iterator[None]:
    """Within it `_` and the others speak the language `code`. UserError for a code that is not in LANGUAGES."""
    if code not in LANGUAGES:
        raise UserError(f"There is no language '{code}': choose {' or '.join(LANGUAGES)}.")
    token = _current.set(code)
    try:
        yield
    finally:
        _current.reset(token)


def current_language() -> str:
    """The code of the language that is spoken now."""
    return _current.get()


def _(message: str, **values: Any) -> str:
    """The message in the current language, with its placeholders filled (`str.format`)."""
    return _filled(_forms(message)[0], values)


def ngettext(singular: str, plural: str, n: int, **values: Any) -> str:
    """The form of a message for the number n, which is its placeholder {n}."""
    return _filled(_forms(singular, plural)[0 if n == 1 else -1], {"n": n, **values})


def mark(message: str) -> str:
    """The message as it is: marked for the catalogs where it is written, and translated where it is shown."""
    return message


def sentences(parts: Iterable[str]) -> str:
    """Whole sentences as one paragraph; empty ones are left out."""
    return _BETWEEN_SENTENCES[_current.get()].join(part for part in parts if part)


def listed(words: Iterable[str], last: Literal["and", "or"] = "and") -> str:
    """The words as a list, with `last` before the last of them: "a, b and c"."""
    style: Literal["standard", "or"] = "standard" if last == "and" else "or"
    return format_list(list(words), style, _LOCALES[_current.get()])


def speak(environment: jinja2.Environment) -> None:
    """Give the templates of an environment `_`, `ngettext`, `sentences` and `listed`, the filter `term`, and the code
    `language`.

    A message of `_` and `ngettext` is HTML, and its values are escaped unless they are Markup. `term` translates plain
    text, which is escaped like any other.
    """

    def translate(message: str, **values: Any) -> str:
        return _filled(Markup(_forms(message)[0]), values)

    def number(singular: str, plural: str, n: int, **values: Any) -> str:
        return _filled(Markup(_forms(singular, plural)[0 if n == 1 else -1]), {"n": n, **values})

    def paragraph(*parts: str) -> str:
        return Markup(_BETWEEN_SENTENCES[_current.get()]).join(part for part in parts if part)

    environment.globals |= {"_": translate, "ngettext": number, "sentences": paragraph, "listed": listed}
    environment.filters["term"] = _
    environment.globals["language"] = _current.get()


def _filled(text: str, values: Mapping[str, Any]) -> str:
    return text.format(**values) if values else text


def _forms(*message: str) -> tuple[str, ...]:
    """The plural forms of a message in the current language; a message without a plural has one."""
    return catalog(_current.get()).get(message[0], message)


@functools.cache
def catalog(code: str) -> dict[str, tuple[str, ...]]:
    """The translations of a language by message id (the singular where there are two): a text for each plural form."""
    if code == LANGUAGES[0]:
        return {}
    text = resources.files("twfer_dist").joinpath("languages", f"{code}.po").read_bytes()
    forms = {}
    for message in read_po(io.BytesIO(text), locale=code):
        string = message.string or ""
        texts = (string,) if isinstance(string, str) else tuple(string)
        if message.id and all(texts):
            forms[message.id if isinstance(message.id, str) else message.id[0]] = texts
    return forms
