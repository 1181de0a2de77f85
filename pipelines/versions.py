"""Finds the state of everything that a study reads, once, when it starts or is submitted.

What it finds is a parameter of the pipeline: part of the key by which finished stages are reused, on this machine and
on a cluster, and what the stages that read compare with.
"""

import functools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from pipelines.studies import data_and_profile
from ssm4rec.data.data_sets import read_addresses
from ssm4rec.data.locations import local_path
from ssm4rec.data.remote import MissingError
from ssm4rec.data.source import SourceOptions
from ssm4rec.data.versions import State, UnknownStateError, file_state, find_versions
from ssm4rec.llm.sources import may_change, source_state
from ssm4rec.recipes.generators import generator_recipe
from ssm4rec.recipes.rankers import ranker_recipe
from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.files import cache_folder


def add_versions(arguments: dict[str, Any], say: Callable[[str], None], here: bool = True) -> None:
    """Set the versions among a pipeline's arguments, of data and of language models, unless they are set.

    ``say`` shows what cannot be told to the user. ``here``: the stages run on this machine; otherwise what cannot be
    seen from it stops nothing. Raise InputError if nothing is at an address.
    """
    cache_dir = cache_folder(arguments.get("cache_dir", ""))
    data_state = functools.partial(file_state, cache_dir=cache_dir if here else None)
    read: list[tuple[str, Iterable[str], State]] = [
        *((name, read_addresses(options), data_state) for name, options in _data(arguments, cache_dir)),
        ("language_model_version", filter(may_change, _language_models(arguments)), source_state),
    ]
    for name, addresses, state in read:
        if name in arguments and not arguments[name]:
            arguments[name], notes = find_versions(addresses, state if here else _from_afar(state))
            for note in notes:
                say(f"{note}: when it changes, set another --{name.replace('_', '-')}")


def _data(arguments: dict[str, Any], cache_dir: Path) -> Iterator[tuple[str, SourceOptions]]:
    """Yield the data sets that a study reads, each with the name of its version: its own, and those of the transfer."""
    form = arguments.get("form", "raw")
    dataset = arguments.get("dataset", data_and_profile(arguments)[0])
    items_source = arguments.get("items_source", "")
    yield "data_version", SourceOptions(dataset, cache_dir, arguments["source"], items_source, form=form)
    for part in ("pretrain", "fine_tune"):
        if f"{part}_version" in arguments:
            options = SourceOptions(arguments[f"{part}_on"], cache_dir, arguments[f"{part}_source"], form=form)
            yield f"{part}_version", options


def _language_models(arguments: dict[str, Any]) -> Iterator[str]:
    """Yield the sources of all language models that a study reads: those it names, else those of the recipes."""
    for entry in (*arguments.get("rankers", ()), *arguments.get("adapters", ())):
        changes, kind = entry.get("overrides", arguments.get("llm_overrides", "")), arguments.get("ranker", "letters")
        yield entry["language_model"] or ranker_recipe(arguments["profile"], changes, kind).source
    for entry in arguments.get("generators", ()):
        yield generator_recipe(entry["model"], arguments["profile"], arguments["generator_overrides"]).source


def _from_afar(state: State) -> State:
    """Return a way to ask for states that knows that the cluster may see what this machine does not."""

    def asked(address: str) -> str:
        if local_path(address) is not None:
            raise UnknownStateError("a path on the cluster cannot be seen from here")
        try:
            return state(address)
        except MissingError:
            raise
        except InputError as error:
            raise UnknownStateError(f"cannot be seen from here ({error})") from None

    return asked
