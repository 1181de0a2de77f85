"""The adapter study's parameters."""

import argparse
from typing import Any

from pipelines.parameters.parser import ParametersParser
from pipelines.parameters.shared import add_for_language_models, language_model_arguments
from ssm4rec.command_line import names, one_of, seeds
from ssm4rec.contracts import MODELS
from ssm4rec.llm.adapter_sweep import SCALES as ADAPTER_SCALES
from ssm4rec.llm.adapter_sweep import adapter_sweep


class AdapterStudyParser(ParametersParser):
    """The flags of the adapter study."""

    def __init__(self, module: str, description: str) -> None:
        super().__init__(module, description)
        self.add_argument("--dataset", default="ml-100k", help="name of the data set; its items need titles")
        self.add_argument("--language-model", default="", help="to fine-tune: its source; empty: the profile's")
        self.add_argument(
            "--retriever",
            type=one_of(MODELS),
            default="lrurec",
            help=f"whose candidates it ranks, of {', '.join(MODELS)}",
        )
        self.add_argument(
            "--optimizers",
            type=names(tuple(ADAPTER_SCALES)),
            default=",".join(ADAPTER_SCALES),
            help=f"to compare, of {', '.join(ADAPTER_SCALES)}",
        )
        self.add_argument(
            "--seeds", type=seeds, default="0", help="seeds to train each scale with, separated by commas"
        )
        add_for_language_models(self)


def adapter_study_arguments(options: argparse.Namespace) -> dict[str, Any]:
    """Return the adapter study's arguments for parsed flags."""
    return {
        "adapters": adapter_sweep(options.language_model, options.optimizers, options.seeds, options.llm_overrides),
        **language_model_arguments(options),
    }
