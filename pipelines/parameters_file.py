"""A YAML file of flags, read as it is written.

A value means what the same text means on the command line: ``010`` is not 8, ``1:30`` not 90, ``name: 1.10`` not 1.1
and ``2024_01`` not 202401, as they are to YAML 1.1. Only inside a mapping, which becomes JSON, are there numbers and
true and false. What could be read in two ways is refused, with its line.
"""

import json
import re
from collections.abc import Collection
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, NoReturn

import yaml

from ssm4rec.runtime.errors import InputError, reason

_NULL: Final = ("", "~", "null", "Null", "NULL")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?", re.ASCII)
"""A number as JSON writes it."""


def flags_of_file(path: Path, known: Collection[str]) -> list[str]:
    """Return the flags of a file, each in one word, as a value may begin with a dash.

    It has a line ``name: value`` for each; lists are lists of plain values. Raise InputError if the file cannot be
    read, or a line of it is at fault; the text does not name the file.
    """
    flags: dict[str, str] = {}
    for key, value in _entries(path):
        flag = f"--{_text(key, 'a name').replace('_', '-')}"
        if flag not in known:
            near = get_close_matches(flag, known, n=1)
            also = f"; did you mean {near[0].removeprefix('--').replace('-', '_')}?" if near else ""
            _refuse(key, f"there is no parameter {key.value!r}{also}")
        if flag in flags:
            _refuse(key, f"{key.value} is set twice; leave one line")
        flags[flag] = _as_flag(value)
    return [f"{flag}={value}" for flag, value in flags.items()]


class _Loader(yaml.SafeLoader):
    """Composes nodes without what a file of flags does not need: names for values, and types."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call] # the stubs have no types for it
        if isinstance(event, yaml.AliasEvent):
            _refuse(event, f"*{event.anchor}: write the value itself")
        if getattr(event, "tag", None) is not None:
            _refuse(event, f"{event.tag}: leave the tag out; write a plain value")
        return super().compose_node(parent, index)


def _entries(path: Path) -> list[tuple[yaml.Node, yaml.Node]]:
    try:
        document = _Loader(path.read_text(encoding="utf-8")).get_single_node()
    except RecursionError:
        raise InputError("nested too deeply; write a line `name: value` for each flag") from None
    except FileNotFoundError:
        raise InputError("no such file") from None
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise InputError("not a text in UTF-8") from None
    except yaml.MarkedYAMLError as error:
        what = " ".join(" ".join(filter(None, (error.context, error.problem))).split())
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise InputError(f"{line}not YAML ({what})") from None
    except yaml.YAMLError as error:
        raise InputError(f"not YAML ({reason(error)})") from None
    if document is None:  # comments only
        return []
    if not isinstance(document, yaml.MappingNode):
        _refuse(document, "write a line `name: value` for each flag")
    return list(document.value)


def _as_flag(node: yaml.Node) -> str:
    if isinstance(node, yaml.ScalarNode):
        return "" if _is_null(node) else str(node.value)
    if isinstance(node, yaml.MappingNode) or any(isinstance(entry, yaml.MappingNode) for entry in node.value):
        return json.dumps(_as_json(node))
    return ",".join(_text(entry, "an entry of a list") for entry in node.value)


def _as_json(node: yaml.Node) -> Any:
    if isinstance(node, yaml.SequenceNode):
        return [_as_json(entry) for entry in node.value]
    if isinstance(node, yaml.MappingNode):
        found: dict[str, Any] = {}
        for key, value in node.value:
            name = _text(key, "a name")
            if name in found:
                _refuse(key, f"{name} is set twice; leave one")
            found[name] = _as_json(value)
        return found
    text = _text(node, "a value")
    plain = isinstance(node, yaml.ScalarNode) and node.style is None
    return json.loads(text) if plain and (text in ("true", "false") or _NUMBER.fullmatch(text)) else text


def _text(node: yaml.Node, what: str) -> str:
    if not isinstance(node, yaml.ScalarNode):
        _refuse(node, f"{what} is a list or a mapping; write a plain value, or several as [a, b]")
    if _is_null(node) or not node.value:
        _refuse(node, f"{what} is empty; leave it out or write a value")
    return str(node.value)


def _is_null(node: yaml.ScalarNode) -> bool:
    return node.style is None and node.value in _NULL


def _refuse(at: Any, what: str) -> NoReturn:
    raise InputError(f"line {at.start_mark.line + 1}: {what}")
