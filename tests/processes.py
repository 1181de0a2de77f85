"""The processes that a program under test has started."""

from collections.abc import Iterator
from pathlib import Path


def descendants(process: int) -> Iterator[tuple[int, str]]:
    """The processes below one, and what they call themselves."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            number, parent = int(path.parent.name), int(path.read_text().rpartition(")")[2].split()[1])
            name = path.with_name("cmdline").read_text()
        except OSError:  # it has ended
            continue
        if parent == process:
            yield number, name
            yield from descendants(number)
