"""Changes to a recipe from the command line: ``section.field=value`` pairs."""

import dataclasses
import logging
import math
from functools import cache
from typing import Any, Final, TypeVar

from ssm4rec.artifacts.earlier_names import FIELDS, override_of_today, value_of_today
from ssm4rec.runtime.errors import InputError

logger = logging.getLogger(__name__)

R = TypeVar("R")

_KINDS: Final = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def override(recipe: R, pairs: str) -> R:
    """Return the recipe with pairs such as ``training.epochs=3,model.mixer.d_state=16`` applied one by one.

    ``recipe`` is a dataclass; its fields are numbers, texts and dataclasses of such. Raise InputError if a pair names
    no field, or its value does not fit.
    """
    _refuse_two_names(pairs)
    names = [field.name for field in dataclasses.fields(recipe)]  # type: ignore[arg-type] # a dataclass
    for pair in map(str.strip, filter(None, pairs.split(","))):
        path, equals, text = pair.partition("=")
        fields = path.split(".")
        if not equals or fields[0] not in names:
            raise InputError(
                f"--overrides {pair}: write section.field=value; the recipe begins with {', '.join(names)}"
            )
        try:
            recipe = _replace(recipe, fields, text)
        except (ValueError, InputError) as error:  # also of the configuration: right type, and it makes no sense
            raise InputError(f"--overrides {pair}: {error}") from None
    return recipe


def overrides_of_today(pairs: str) -> str:
    """Return overrides of a recommender with the names of today, and warn once of each of before.

    Raise InputError if one setting has both of its names.
    """
    _refuse_two_names(pairs)
    return ",".join(map(_pair_of_today, pairs.split(",")))


def _refuse_two_names(pairs: str) -> None:
    named = [pair.partition("=")[0].strip() for pair in pairs.split(",")]
    for name in named:
        if (today := override_of_today(name)) != name and today in named:
            raise InputError(f"--overrides {name}: the old name of {today}, which is given, too; leave it out")


def _pair_of_today(pair: str) -> str:
    path, equals, text = pair.partition("=")
    for name in path.strip().split("."):
        if name in FIELDS:
            _warn_of_name(name)
    today = override_of_today(path)
    return f"{today}{equals}{value_of_today(today.rpartition('.')[2], text)}"


def _replace(settings: Any, fields: list[str], text: str) -> Any:
    """Return ``settings`` with the (nested) field set to ``text``, read as the type of the present value.

    Raise ValueError if there is no such field, or the text does not fit; so does what the configuration itself raises.
    """
    names = [field.name for field in dataclasses.fields(settings)]
    if fields[0] not in names and (today := FIELDS.get(fields[0])) in names:
        _warn_of_name(fields[0])
        fields = [today, *fields[1:]]
        text = value_of_today(today, text)
    if fields[0] not in names:
        raise ValueError(f"no field {fields[0]!r}; choose from {', '.join(names)}")
    present = getattr(settings, fields[0])
    if dataclasses.is_dataclass(present):
        if len(fields) == 1:
            raise ValueError(f"{fields[0]} has fields of its own; name one of them")
        return dataclasses.replace(settings, **{fields[0]: _replace(present, fields[1:], text)})
    if len(fields) > 1 or isinstance(present, tuple):
        raise ValueError(f"{fields[0]} cannot be set this way")
    try:
        value = bool(("false", "true").index(text)) if isinstance(present, bool) else type(present)(text)
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError
    except ValueError:
        raise ValueError(f"{text!r} is not {_KINDS[type(present)]}") from None
    return dataclasses.replace(settings, **{fields[0]: value})


@cache  # once
def _warn_of_name(name: str) -> None:
    logger.warning("--overrides: %s is called %s now; the old name works until the next release", name, FIELDS[name])
