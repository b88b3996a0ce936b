"""The catalogs of `twfer_dist/languages/`, brought up to date with the messages in the modules and templates.

A translation is never lost: that of a message which no source has any more stays at the end of the catalog, behind
"#~", and is taken up again when the message comes back.
"""

import ast
import io
import json
from collections.abc import Iterator
from pathlib import Path

import jinja2
from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po, write_po

import twfer_dist
from twfer_dist.core.language import LANGUAGES
from twfer_dist.core.taxonomy import ACTION_UNIT_MOVEMENTS, EXPRESSIONS, POSTURES

PACKAGE = Path(twfer_dist.__file__).resolve().parent
FUNCTIONS = {"_": 1, "mark": 1, "ngettext": 2}
"""The functions whose first arguments are messages, and how many."""

TERMS = (*EXPRESSIONS, *ACTION_UNIT_MOVEMENTS, *POSTURES, "train", "validation", "test", "corpus", "posture", "all")
"""Messages that are names in the data: of the taxonomy, of splits, of the columns and the row that every study has."""

REPEATABILITY = "weights/faces-repeatability.json"

Message = str | tuple[str, ...]

_HEADER = """msgid ""
msgstr ""
"Content-Type: text/plain; charset=utf-8\\n"
"Language: {code}\\n"
"Plural-Forms: {plurals};\\n"

"""


def catalogs() -> dict[Path, str]:
    """The text of each catalog as it should be."""
    paths = {code: PACKAGE / "languages" / f"{code}.po" for code in LANGUAGES[1:]}
    return {path: _refreshed(code, path) for code, path in paths.items()}


def _refreshed(code: str, path: Path) -> str:
    known = read_po(io.BytesIO(path.read_bytes()), locale=code) if path.exists() else Catalog(locale=code)
    texts = {message.id: message.string for message in [*known, *known.obsolete.values()] if message.id}
    current, former = Catalog(locale=code), Catalog(locale=code)
    for message, files in messages().items():
        current.add(message, texts.pop(message, None), locations=[(file, 0) for file in files])
    for message, text in texts.items():
        if any([text] if isinstance(text, str) else text):
            former.add(message, text)
    lines = [line for line in _written(former).splitlines() if not line.startswith("#")]  # flags cannot be behind "#~"
    behind = "".join(f"#~ {line}\n" if line else "\n" for line in lines)
    return _HEADER.format(code=code, plurals=current.plural_forms.rstrip(";")) + _written(current) + behind


def _written(catalog: Catalog) -> str:
    file = io.BytesIO()
    write_po(file, catalog, width=120, omit_header=True, include_lineno=False)
    return file.getvalue().decode()


def messages() -> dict[Message, list[str]]:
    """Every message of the package with the files that have it, in the order of the files and of the text."""
    found: dict[Message, list[str]] = {term: ["docs/catalogs.py"] for term in TERMS}
    found[json.loads((PACKAGE / REPEATABILITY).read_text())["source"]] = [REPEATABILITY]
    for path in sorted(PACKAGE.rglob("*")):
        extract = {".py": _in_module, ".j2": _in_template}.get(path.suffix)
        for message in extract(path) if extract else ():
            files = found.setdefault(message, [])
            if (name := path.relative_to(PACKAGE).as_posix()) not in files:
                files.append(name)
    return found


def _in_module(path: Path) -> Iterator[Message]:
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    for node in sorted(nodes, key=lambda node: (node.lineno, node.col_offset)):
        if isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS:
            parts = any(isinstance(arg, ast.JoinedStr | ast.BinOp) for arg in node.args[: FUNCTIONS[node.func.id]])
            assert not parts, f"{path}, line {node.lineno}: a message is one literal with placeholders"
            given = [arg.value if isinstance(arg, ast.Constant) else None for arg in node.args]
            yield from _message(node.func.id, given)


def _in_template(path: Path) -> Iterator[Message]:
    for node in jinja2.Environment().parse(path.read_text()).find_all(jinja2.nodes.Call):  # in the order of the text
        if isinstance(node.node, jinja2.nodes.Name) and node.node.name in FUNCTIONS:
            given = [arg.value if isinstance(arg, jinja2.nodes.Const) else None for arg in node.args]
            literal = all(isinstance(word, str) for word in given[: FUNCTIONS[node.node.name]])
            assert literal, f"{path}, line {node.lineno}: a message is a literal, and a value is a |term"
            yield from _message(node.node.name, given)


def _message(function: str, given: list) -> Iterator[Message]:
    """The message of a call; none where it is not written there but comes as a value."""
    words = tuple(given[: FUNCTIONS[function]])
    if all(isinstance(word, str) for word in words):
        yield words[0] if len(words) == 1 else words
