"""Settings that several stages, and the studies that pass them on, have in common."""

from pathlib import Path
from typing import Annotated

from ssm4rec.artifacts.names import DEVICES, KERNELS, PAIRS_BY, PRECISIONS, PROFILES
from ssm4rec.artifacts.ranker import RANKER_KINDS
from ssm4rec.settings.command_line import label, one_of, seed, seeds, whole_number
from ssm4rec.settings.flags import ExecutorInput, Flag, Read
from ssm4rec.settings.outputs import kept_folder

DatasetDir = Annotated[Path, Read("Dataset", "dataset folder, from prepare_data")]
Profile = Annotated[str, Flag(f"size of the training: {', '.join(PROFILES)}", one_of(PROFILES))]
Seed = Annotated[int, Flag("decides every random number", seed)]
Seeds = Annotated[tuple[int, ...], Flag("seeds to train each with, separated by commas", seeds)]
Label = Annotated[
    str,
    Flag(
        "names this training among others of the same model and seed, in folders, logs and MLflow, such as window50; "
        "empty: there are none",
        label,
    ),
]
Device = Annotated[str, Flag("cpu, cuda, or auto: cuda where there is one", one_of(DEVICES))]
Precision = Annotated[
    str, Flag("fp32, tf32, bf16, or auto: bf16 on a GPU (weights stay fp32), else fp32", one_of(PRECISIONS))
]
Kernels = Annotated[
    str,
    Flag(
        "form of the operators: sequential, torch, fused (compiled kernels, an error where they are missing), or "
        "auto: fused where they are",
        one_of(KERNELS),
    ),
]
Compile = Annotated[bool, Flag("send the models through torch.compile")]
Workers = Annotated[
    int,
    Flag(
        "processes that share the users, each on a core or a GPU, by Ray: on this machine, or on the cluster that "
        "RAY_ADDRESS names; 1: this process alone, without Ray; 0: one for each core, or GPU, there",
        whole_number(0),
    ),
]
LanguageModelDir = Annotated[str, Flag("folder that keeps language models; empty: ~/.cache/ssm4rec", kept_folder)]
LanguageModelVersion = Annotated[
    str,
    Flag("state of the language models' files when the run started; empty: found out by a study, else not compared"),
]
FromKFP = Annotated[str, ExecutorInput()]

Ranker = Annotated[
    str,
    Flag(
        "kind of ranker: letters (LlamaRec: it answers with a candidate's letter), items (a model whose tokens are "
        "items), or auto: as an override ranker= says, else the profile's",
        one_of(("auto", *RANKER_KINDS)),
    ),
]

PairsBy = Annotated[
    str,
    Flag(
        "what makes the preference pairs: paper (ratings, and LightFM's worst items) or retriever (the last training "
        "item against one of the retriever's best that the user did not have)",
        one_of(PAIRS_BY),
    ),
]

Resamples = Annotated[int, Flag("bootstrap draws, and permutations, of the users", whole_number(100))]
