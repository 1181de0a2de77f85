"""Settings said once: of a dataclass's fields come a stage's command line, its KFP component and its documented table.

A field is annotated with what it is: a :class:`Flag` (a value), a :class:`Read` (a file or folder that another stage
wrote), a :class:`Written` (one that this stage writes) or a :class:`Shown` (numbers for the KFP UI)::

    @dataclass(frozen=True, kw_only=True)
    class Settings(StageSettings):
        '''Train one recommender.'''

        dataset_dir: Annotated[Path, Read("Dataset", "dataset folder, from prepare_data")]
        seed: Annotated[int, Flag("decides every random number", parse=whole_number(0))] = 0
        model_dir: Annotated[Path, Written("Model", output_folder("train_recommender"), "model folder to write")]

gives the flags ``--dataset-dir``, ``--seed`` and ``--model-dir``, and a component with the input ``dataset``, the
parameter ``seed`` and the output ``model``. ``kfp_component.py`` makes the component: a container has no kfp.
"""

import argparse
import inspect
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar, Final, get_args, get_origin, get_type_hints

from ssm4rec.runtime.errors import InputError
from ssm4rec.settings.command_line import StageParser, boolean, number, whole_number
from ssm4rec.settings.executor_input import input_paths
from ssm4rec.settings.outputs import PathFlag, input_path

logger = logging.getLogger(__name__)

_RENAMED: Final = {"--history": "--curve", "--histories": "--curves", "--split": "--splitting"}
"""Flags by their names of the last release; where that is another flag's today, it is that one."""

_PARSERS: Final[dict[Any, Callable[[str], Any]]] = {bool: boolean, int: whole_number(), float: number, str: str}


@dataclass(frozen=True)
class Flag:
    """A value.

    Attributes:
        parse: reads it; by default by the field's type.
        component_type: of the KFP parameter, where it is not the field's type (a list is one text).
        component_name: of the KFP parameter, where it is not the field's: an artifact may be called so.
        planned: a study turns it into the lists of what to train, and has no pipeline parameter for it.
    """

    help: str
    parse: Callable[[str], Any] | None = None
    component_type: type | None = None
    component_name: str = ""
    planned: bool = False


@dataclass(frozen=True)
class Read:
    """A file or folder that is read, as a KFP artifact of a kind; a list where the field is a tuple."""

    kind: str
    help: str
    optional: bool = False


@dataclass(frozen=True)
class Written:
    """A file or folder that is written, as a KFP artifact of a kind, or as an output parameter of kind ``list``."""

    kind: str
    path: PathFlag
    help: str


@dataclass(frozen=True)
class Shown:
    """Numbers that the KFP UI shows; they have no flag and no file."""

    help: str


@dataclass(frozen=True)
class ExecutorInput:
    """KFP's own JSON, which names the artifacts of lists and what takes numbers to show."""

    help: str = "KFP's executor input; empty when run by hand"


Note = Flag | Read | Written | Shown | ExecutorInput


@dataclass(frozen=True)
class Described:
    """A field of a dataclass of settings; ``note`` is what it is annotated with, ``group`` its heading in the help."""

    name: str
    value_type: Any
    note: Note
    default: Any
    group: str

    @property
    def flag(self) -> str:
        """The flag's name, such as ``--dataset-dir``."""
        return "--" + self.name.replace("_", "-")

    @property
    def is_list(self) -> bool:
        """Several values in one flag."""
        return get_origin(self.value_type) is tuple

    @property
    def artifact(self) -> str:
        """The name of an input or output of the component: a folder's without ``_dir``."""
        return self.name.removesuffix("_dir")

    @property
    def component_type(self) -> type:
        """The type of a value as a KFP parameter: lists, and what may be ``none``, are texts."""
        if isinstance(self.note, Flag) and self.note.component_type:
            return self.note.component_type
        found: type = self.value_type if self.value_type in (bool, int, float) else str
        return found

    def as_argument(self, value: Any) -> Any:
        """Return a value as KFP takes it."""
        return _as_text(value) if self.component_type is str else value


def _as_text(value: Any) -> str:
    """Return a value as a command line says it: tuples with commas, None as ``none``."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "none" if value is None else str(value)


def described(settings: type) -> list[Described]:
    """Return the fields of a dataclass of settings, in their order."""
    owners = {name: owner for owner in reversed(settings.__mro__) for name in inspect.get_annotations(owner)}
    hints = get_type_hints(settings, include_extras=True)
    found = []
    for one in fields(settings):
        kind, note = get_args(hints[one.name])
        found.append(Described(one.name, kind, note, one.default, vars(owners[one.name]).get("GROUP", "")))
    return found


@dataclass(frozen=True, kw_only=True)
class StageSettings:
    """What every stage's settings can do; the class's docstring is the stage's description.

    ``IMAGE`` is the role of its image (``images.ROLES``), ``GROUP`` a heading for the flags of the class in the help.
    """

    IMAGE: ClassVar[str] = "cpu"
    GROUP: ClassVar[str] = ""

    @classmethod
    def module(cls) -> str:
        """Return the stage's module, which is run as a process: the package of the settings' file."""
        return cls.__module__.rpartition(".")[0]

    @classmethod
    def parser(cls) -> "SettingsParser":
        """Return the stage's command line."""
        return SettingsParser(cls.module(), cls)

    def check(self) -> None:
        """Raise InputError if the settings are wrong on every machine, whatever the data."""

    def check_here(self) -> None:
        """Raise InputError if this machine lacks what the settings ask for."""


class SettingsParser(StageParser):
    """A command line that is parsed to an object of each of some dataclasses of settings."""

    def __init__(self, module: str, *settings: type) -> None:
        super().__init__(module, str(settings[0].__doc__).partition("\n")[0])
        self._settings = settings
        self._described = [one for kind in settings for one in described(kind)]
        self._parsed = argparse.Namespace()
        self._warned_of: set[str] = set()
        groups: dict[str, Any] = {"": self}
        for one in self._described:
            if one.group not in groups:
                groups[one.group] = self.add_argument_group(one.group)
            if not isinstance(one.note, Shown):
                groups[one.group].add_argument(one.flag, **_argument(one))

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Return the settings: an object, or a tuple of one of each dataclass.

        Lists of paths, and those that may be left out, are KFP's executor input's where there is one.
        """
        arguments = sys.argv[1:] if args is None else args
        self._parsed = super().parse_args(self.by_names_of_today(arguments), namespace)
        given: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in vars(self._parsed).items()
        }
        if executor := given.get("executor_input"):
            for one in self._described:
                if isinstance(one.note, Read) and (one.is_list or one.note.optional):
                    paths = input_paths(executor, one.artifact, one.note.optional)
                    given[one.name] = tuple(paths) if one.is_list else next(iter(paths), None)
        made = tuple(
            kind(**{one.name: given[one.name] for one in fields(kind) if one.name in given}) for kind in self._settings
        )
        return made if len(made) > 1 else made[0]

    @property
    def old_flags(self) -> dict[str, str]:
        """The names that flags had in the last release, which still work, and those of today."""
        flags = {flag for action in self._actions for flag in action.option_strings}
        return {old: today for old, today in _RENAMED.items() if today in flags and old not in flags}

    def by_names_of_today(self, arguments: Sequence[str]) -> list[str]:
        """Return arguments with today's names of flags, and warn of others; raise InputError if one has both."""
        old_flags, given = self.old_flags, {argument.partition("=")[0] for argument in arguments}
        for flag, today in old_flags.items():
            if flag in given:
                if today in given:
                    raise InputError(f"{flag}: the old name of {today}, which is given, too; leave it out")
                if flag not in self._warned_of:
                    logger.warning("%s is called %s now; the old name works until the next release", flag, today)
                self._warned_of.add(flag)
        split = [argument.partition("=") for argument in arguments]
        return [old_flags.get(flag, flag) + equals + value for flag, equals, value in split]

    def check_paths(self, options: Any) -> None:  # noqa: ARG002 - settings know no flags: what was parsed does
        """Raise InputError if an output of the flags last parsed cannot be written, or would destroy something."""
        super().check_paths(self._parsed)


def _argument(one: Described) -> dict[str, Any]:
    match one.note:
        case Read():
            parse: Callable[[str], Any] = input_path
        case Written(path=path):
            parse = path
        case note:
            parse = getattr(note, "parse", None) or _PARSERS.get(one.value_type, str)
    found = {"help": one.note.help.replace("%", "%%"), "type": parse}
    if isinstance(one.note, Read) and one.is_list:
        metavar = "DIR" if one.note.kind in ("Model", "Dataset") else "FILE"
        return {**found, "nargs": "*", "default": (), "metavar": metavar}
    if one.default is MISSING:
        return {**found, "required": True}
    return {**found, "default": None if isinstance(one.note, Read) else _as_text(one.default)}
