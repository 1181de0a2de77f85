"""What train_recommender is told."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, get_args

from ssm4rec.models.sizes import Histories
from ssm4rec.models.table import MODELS
from ssm4rec.recipes.recommenders import recipe
from ssm4rec.runtime.errors import InputError
from ssm4rec.settings.command_line import one_of, whole_number
from ssm4rec.settings.flags import Flag, Read, StageSettings, Written
from ssm4rec.settings.nodes import LARGEST_NUMBER_OF_NODES, check_nodes, other_nodes
from ssm4rec.settings.outputs import kept_folder, output_file, output_folder
from ssm4rec.settings.shared import Compile, DatasetDir, Device, FromKFP, Kernels, Label, Precision, Profile, Seed
from ssm4rec.training.device import choose_device, choose_kernels
from ssm4rec.training.distributed import check_processes, choose_precision


@dataclass(frozen=True, kw_only=True)
class Settings(StageSettings):
    """Train one recommender; killed, the same command resumes."""

    IMAGE: ClassVar[str] = "train"

    dataset_dir: DatasetDir
    model: Annotated[str, Flag(f"recommender: {', '.join(MODELS)}", one_of(MODELS), component_name="model_name")]
    profile: Profile = "quick"
    seed: Seed = 0
    overrides: Annotated[str, Flag("changes to the recipe, such as training.epochs=3,model.dropout=0.1")] = ""
    initial_model: Annotated[
        Path | None,
        Read(
            "Model",
            "model folder of the same model and sizes to start from, such as yesterday's: items are found by the "
            "source's ids, new ones begin with their words",
            optional=True,
        ),
    ] = None
    same_items: Annotated[
        bool,
        Flag(
            "whether items of equal ids are the initial model's; false: it is of another catalog, whose ids mean other "
            "items, and all begin with their words"
        ),
    ] = True
    label: Label = ""
    device: Device = "auto"
    precision: Precision = "auto"
    kernels: Kernels = "auto"
    compile: Compile = False
    count_flops: Annotated[
        bool,
        Flag(
            "count the training's floating-point operations, for config.json: matrix products and convolutions, "
            "forward and backward, of a loss over the whole catalog (training.loss=softmax)"
        ),
    ] = False
    processes: Annotated[
        int, Flag("processes that share each batch, one per GPU; torchrun starts them", whole_number(1), str)
    ] = 1
    nodes: Annotated[
        int,
        Flag(
            "nodes of the cluster that share each batch, with --processes each: the stage creates a TrainJob (Kubeflow "
            "Trainer) and ends with it; 1: this machine alone",
            whole_number(1, LARGEST_NUMBER_OF_NODES),
            str,
        ),
    ] = 1
    checkpoint_dir: Annotated[
        str,
        Flag(
            "folder of checkpoints, one subfolder per model, seed, data and overrides; empty: next to the model folder",
            kept_folder,
        ),
    ] = ""
    model_dir: Annotated[Path, Written("Model", output_folder("train_recommender"), "model folder to write")]
    curve: Annotated[Path, Written("Artifact", output_file("Parquet"), "curve.parquet to write, the learning curve")]
    executor_input: FromKFP = ""

    def check(self) -> None:
        """Raise InputError if the recipe is wrong for histories of any length."""
        problems = []
        for kind in get_args(Histories):  # which of them the data have is not known yet
            try:
                recipe(self.model, self.profile, kind, self.overrides)
            except InputError as error:
                problems.append(error)
        if len(problems) == len(get_args(Histories)):
            raise problems[0]
        check_nodes(self.nodes, "--checkpoint-dir", self.checkpoint_dir, "/cache/checkpoints")

    def check_here(self) -> None:
        """Raise InputError if this machine lacks what the settings ask for."""
        if self.nodes > 1:
            raise other_nodes(f"--nodes {self.nodes}")
        device = choose_device(self.device)
        choose_kernels(self.kernels, device)
        choose_precision(self.precision, device)
        check_processes(self.processes, device)
