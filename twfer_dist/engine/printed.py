"""Described tables for print: Markdown, and LaTeX with booktabs."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

import twfer_dist
from twfer_dist.engine.described import SHARE, Described, DescribedTable

PRINTED_ROWS = 1_000
"""Rows of a table that print at most: a longer one is data, which the other formats hold whole."""

_ON_A_PAGE = 40  # rows; a longer LaTeX table breaks over pages
_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': "''", "`": r"\textasciigrave{}",
    "\u00b1": r"$\pm$", "\u00a0": "~", "\u2013": "--", "\u2212": "$-$",
}  # fmt: skip


def markdown(table: DescribedTable, rows: Sequence[Mapping[str, Any]], total: int) -> str:
    """A table in GitHub's Markdown, with its caption above and its note below. rows: the first of all `total`."""
    lines = [f"**{_markdown(table.caption)}**", ""]
    lines.append(f"| {' | '.join(_markdown(_heading(column)) for column in table.shown)} |")
    lines.append(f"| {' | '.join('---:' if _is_number(column) else '---' for column in table.shown)} |")
    for row in rows:
        lines.append(f"| {' | '.join(_markdown(_cell(column, row)) for column in table.shown)} |")
    return "\n".join([*lines, "", _markdown(_note(table, len(rows), total)), ""])


def latex(table: DescribedTable, rows: Sequence[Mapping[str, Any]], total: int) -> str:
    """A table in LaTeX with booktabs, its caption, the label `tab:<name>` and its note; over several pages by longtable
    where it is long.
    """
    shown = table.shown
    caption = rf"\caption{{{_latex(table.caption)}}}\label{{tab:{table.name.replace('_', '-')}}}"
    heading = _latex_row([_heading(column) for column in shown])
    body = [_latex_row([_cell(column, row) for column in shown]) for row in rows]
    note = rf"\footnotesize\textit{{Note.}} {_latex(_note(table, len(rows), total))}"
    kinds = "".join("r" if _is_number(column) else "l" for column in shown)
    head = [
        f"% {table.name}: written by twfer_dist {twfer_dist.__version__}.",
        r"% \usepackage{booktabs,longtable}; names beyond Latin letters need XeLaTeX and a font that has them.",
    ]
    if len(rows) > _ON_A_PAGE:
        lines = [rf"\begin{{longtable}}{{@{{}}{kinds}@{{}}}}", caption + r" \\", r"\toprule", heading]
        lines += [r"\midrule", r"\endfirsthead", r"\toprule", heading, r"\midrule", r"\endhead", r"\bottomrule"]
        lines += [r"\endfoot", *body, r"\end{longtable}", rf"\noindent{{{note}\par}}"]
        return "\n".join([*head, r"{\small", *lines, "}", ""])
    lines = [r"\begin{table}[htbp]", r"\centering\small", caption, rf"\begin{{tabular}}{{@{{}}{kinds}@{{}}}}"]
    lines += [r"\toprule", heading, r"\midrule", *body, r"\bottomrule", r"\end{tabular}", ""]
    lines += [rf"\smallskip\parbox{{\linewidth}}{{{note}}}", r"\end{table}"]
    return "\n".join([*head, *lines, ""])


def _latex_row(cells: Sequence[str]) -> str:
    row = " & ".join(map(_latex, cells)) + r" \\"
    return "{}" + row if row.startswith(("[", "*")) else row  # or the line break before it would take it for its option


def _heading(column: Described) -> str:
    name = column.name.replace("_", " ")
    unit = "%" if column.unit == SHARE else column.unit if pa.types.is_floating(column.type) else ""
    return name + (f", {unit}" if unit else "") + (" [95 % interval]" if column.ends else "")


def _note(table: DescribedTable, shown: int, total: int) -> str:
    if shown < total:
        return f"{table.note} The first {shown:,} of {total:,} rows; {table.name}.csv has all of them.".strip()
    return table.note


def _is_number(column: Described) -> bool:
    return pa.types.is_floating(column.type) or pa.types.is_integer(column.type)


def _cell(column: Described, row: Mapping[str, Any]) -> str:
    value = row[column.name]
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if not isinstance(value, float):
        return str(value)
    words = _number(value, column)
    if column.ends and all(row[end] is not None for end in column.ends):
        low, high = (_number(row[end], column) for end in column.ends)
        words += f" [{low}, {high}]"
    return words


def _number(value: float, column: Described) -> str:
    return f"{100 * value:.1f}" if column.unit == SHARE else f"{value:.{column.decimals}f}"


def _markdown(words: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>#|~])", r"\\\1", _line(words))


def _latex(words: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in _line(words))


def _line(words: str) -> str:
    """A text on one line, without control characters."""
    return " ".join("".join(" " if unicodedata.category(c) == "Cc" else c for c in words).split(" "))
