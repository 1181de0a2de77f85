"""Pieces of Markdown: escaped text, tables, numbers as the paper prints them."""

import re
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, TypeVar

T = TypeVar("T")

MISSING: Final = "\N{EN DASH}"

# Underscores only where they could open or close emphasis, so that learning_rate stays readable in the source.
_MARKUP = re.compile(r"[\\`*\[\]|]|(?<!\w)_|_(?!\w)")


def escape(text: str) -> str:
    r"""Return one line of text that no Markdown renderer takes for markup or HTML.

    >>> escape("a*b <b> | learning_rate")
    'a\\*b &lt;b&gt; \\| learning_rate'
    """
    line = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKUP.sub(lambda match: "\\" + match[0], line)


def table(header: Sequence[str], rows: Sequence[Sequence[str]], text_columns: int = 1) -> str:
    """Return a Markdown table; the first ``text_columns`` columns are aligned left, the rest (numbers) right."""
    rule = ["---"] * text_columns + ["---:"] * (len(header) - text_columns)
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, rule, *rows))


def table_of(things: Iterable[T], columns: Mapping[str, Callable[[T], str]], text_columns: int = 1) -> str:
    """Return a Markdown table with a row for each thing; next to each heading, what stands below it."""
    return table(list(columns), [[cell(one) for cell in columns.values()] for one in things], text_columns)


def listed(words: Sequence[str]) -> str:
    """Return words as they stand in a sentence.

    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def plural(number: int, noun: str) -> str:
    """Return a number and its noun.

    >>> plural(1, "seed"), plural(2000, "user")
    ('1 seed', '2,000 users')
    """
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def population(users: int, targets: int) -> str:
    """Return whom a metric is the mean over: users, or their targets where they have several.

    >>> population(2000, 2000), population(2000, 9000)
    ('2,000 users', '9,000 targets of 2,000 users')
    """
    counted = plural(users, "user")
    return counted if users == targets else f"{plural(targets, 'target')} of {counted}"


def metric_cell(values: Sequence[float]) -> str:
    """Return the mean of a metric over seeds, with the sample standard deviation when there are two or more.

    >>> metric_cell([0.25]), metric_cell([0.1, 0.3])
    ('0.2500', '0.2000 ± 0.1414')
    """
    mean = f"{statistics.mean(values):.4f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.4f}"


def bullets(lines: Sequence[str]) -> str:
    """Return a Markdown list."""
    return "\n".join(f"- {line}" for line in lines)


def setting_cell(value: object) -> str:
    """Return any value of a JSON file as the text of a table cell."""
    match value:
        case None | "":
            return MISSING
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:g}"
        case list() | tuple():
            return ", ".join(setting_cell(part) for part in value) or MISSING
        case _:
            return escape(str(value))
