"""Finds the state of everything that a study reads, once, when it starts or is submitted.

What it finds is a parameter of the pipeline: part of the key by which finished stages are reused, on this machine and
on a cluster, and what the stages that read compare with.
"""

import functools
from collections.abc import Callable, Iterator
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
    """Set ``data_version`` and ``language_model_version`` of a pipeline's arguments, unless they are set.

    ``say`` shows what cannot be told to the user. ``here``: the stages run on this machine; otherwise what cannot be
    seen from it stops nothing. Raise InputError if nothing is at an address.
    """
    cache_dir = cache_folder(arguments.get("cache_dir", ""))
    asked = SourceOptions(
        arguments.get("dataset", data_and_profile(arguments)[0]),
        cache_dir,
        arguments["source"],
        arguments.get("items_source", ""),
        form=arguments.get("form", "raw"),
    )
    models = list(filter(may_change, _language_models(arguments)))
    for name, addresses, state in (
        ("data_version", read_addresses(asked), functools.partial(file_state, cache_dir=cache_dir if here else None)),
        ("language_model_version", models, source_state),
    ):
        if name in arguments and not arguments[name]:
            arguments[name], notes = find_versions(addresses, state if here else _from_afar(state))
            for note in notes:
                say(f"{note}: when it changes, set another --{name.replace('_', '-')}")


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
