"""What tests of several folders share: data sets made by hand, refusals, tiny language models, a real S3 store."""

import atexit
import gc
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

import pytest

from ssm4rec.settings.command_line import run_stage
from tests.datasets import write_dataset_folder
from tests.seaweed import ObjectStore, object_store_on

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

WriteDataset = Callable[..., Path]
Refusal = Callable[..., str]

# Under nohup, or in the background of a script, these are ignored, and what the tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Under `make test TESTS=...`, a make that a test starts would take these for words of its own command line.
for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES"):
    os.environ.pop(name, None)

# As programs do (ssm4rec/runtime/collection.py): the modules that the tests import stay to the end of the process.
gc.disable()
atexit.register(gc.freeze)


def pytest_collection_finish() -> None:
    """Collect what the tests make, and leave out what they have imported."""
    gc.freeze()
    gc.enable()


@pytest.fixture
def write_dataset(tmp_path: Path) -> WriteDataset:
    """Return a function that writes sequences as a leave-one-out dataset folder and returns the folder."""

    def write(sequences: list[list[int]], name: str = "toy", folder: str = "dataset") -> Path:
        return write_dataset_folder(tmp_path / folder, sequences, name)

    return write


@pytest.fixture
def cycle_dataset(write_dataset: WriteDataset) -> Path:
    """Users who walk round a circle of 12 items, each from another place: the next item is certain."""
    return write_dataset([[(start + step) % 12 + 1 for step in range(6 + start % 9)] for start in range(40)])


@pytest.fixture
def refusal(capsys: pytest.CaptureFixture[str]) -> Refusal:
    """Return a function that runs a stage with flags, which it must refuse in one line; it returns the line."""

    def call(run: Callable[[Any], None], *flags: object) -> str:
        with pytest.raises(SystemExit) as stopped:
            run_stage(get_type_hints(run)["options"].parser(), run, [str(flag) for flag in flags])
        assert stopped.value.code == 2
        written = capsys.readouterr().err.splitlines()
        (line,) = [line for line in written if line.strip() and "[00:" not in line]  # but for progress bars
        assert ": error: " in line
        return line

    return call


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """Yield a SeaweedFS server with one empty bucket; it starts in some seconds."""
    folder = tmp_path_factory.mktemp("seaweed")
    (folder / "disk").mkdir()
    with object_store_on(folder / "disk", folder) as store:
        yield store


@pytest.fixture
def object_store(seaweed: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    """Yield the store, which this process and its children find in their environment; the bucket is emptied after."""
    for name, value in seaweed.variables.items():
        monkeypatch.setenv(name, value)
    yield seaweed
    for key in seaweed.sizes():
        seaweed.client().delete_object(Bucket=seaweed.bucket, Key=key)


@pytest.fixture(scope="session")
def tokenizer() -> "PreTrainedTokenizerFast":
    """Return the tokenizer of the tiny language models."""
    from tests.language_models import train_tokenizer  # transformers takes seconds to import, few tests need it

    return train_tokenizer()


@pytest.fixture(scope="session")
def language_model(
    tmp_path_factory: pytest.TempPathFactory, tokenizer: "PreTrainedTokenizerFast"
) -> Callable[[str], Path]:
    """Return a function that gives the folder of a tiny language model: llama, gpt2 or mamba2."""
    from tests.language_models import TinyModels

    return TinyModels(tmp_path_factory.mktemp("language-models"), tokenizer)


@pytest.fixture
def add_titles() -> Callable[[Path], Path]:
    """Return a function that gives a dataset folder titles, and returns the folder."""
    from tests.language_models import write_titles

    return write_titles
