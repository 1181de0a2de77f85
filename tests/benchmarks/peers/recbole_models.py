"""Train RecBole's SASRec or GRU4Rec (RUCAIBox/RecBole) and print how fast.

Its own sequential data set, loader, full cross-entropy, Adam and ``Trainer.fit``; the loader counts and stops. RecBole
makes an example of every prefix of every user and trains on its last position, so a target is a row of a batch.
"""

import contextlib
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

from measurement import Clock, Sequences, read_arguments, read_sequences, report
from recbole.config import Config
from recbole.data.dataloader import TrainDataLoader
from recbole.data.dataset import SequentialDataset
from recbole.data.interaction import Interaction
from recbole.model.sequential_recommender import GRU4Rec, SASRec
from recbole.trainer import Trainer

NAME = "measured"
MODELS = {"sasrec": SASRec, "gru4rec": GRU4Rec}


class BudgetSpentError(Exception):
    """Ends ``Trainer.fit``."""


class MeasuredLoader(TrainDataLoader):
    """Counts the targets, and ends the training when the budget is spent."""

    clock: Clock

    def __iter__(self) -> Iterator[Interaction]:
        self.clock.start()
        for batch in super().__iter__():
            yield batch
            # the training step on the batch is over when the next one is asked for
            if self.clock.step(len(batch)):
                self.clock.stop()
                raise BudgetSpentError
        self.clock.stop()


def write_training(sequences: Sequences, folder: Path) -> None:
    """Write the training items as RecBole's atomic files; the time is the place in the user's history.

    The list of items makes the catalog whole: some have no place in the training data.
    """
    with (folder / f"{NAME}.inter").open("w", encoding="utf-8") as stream:
        stream.write("user_id:token\titem_id:token\ttimestamp:float\n")
        for user, items in enumerate(sequences.training()):
            stream.writelines(f"{user}\t{item}\t{place}\n" for place, item in enumerate(items))
    with (folder / f"{NAME}.item").open("w", encoding="utf-8") as stream:
        stream.write("item_id:token\n")
        stream.writelines(f"{item}\n" for item in range(1, sequences.item_count + 1))


def main() -> None:
    """Train and print the measurement."""
    options = read_arguments(("sasrec", "gru4rec"), batch_size=256, batch_unit="prefixes")
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    sys.argv = sys.argv[:1]  # RecBole would read the command line, too
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # where RecBole leaves logs
        (Path(folder) / NAME).mkdir()
        write_training(read_sequences(options.dataset), Path(folder) / NAME)
        settings = {
            "data_path": folder,
            "checkpoint_dir": folder,
            "use_gpu": False,
            "seed": options.seed,
            "show_progress": False,
            "load_col": {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id"]},
            "MAX_ITEM_LIST_LENGTH": options.max_length,
            "eval_args": {"split": {"RS": [1, 0, 0]}, "group_by": "none", "order": "TO", "mode": "full"},
            "train_neg_sample_args": None,
            "train_batch_size": options.batch_size,
            "epochs": options.epochs,
            "loss_type": "CE",
            "embedding_size": options.width,
            "hidden_size": options.width,
            "n_layers": options.layers,
            "num_layers": options.layers,
            "n_heads": options.heads,
            "inner_size": 4 * options.width,
            "hidden_dropout_prob": options.dropout,
            "attn_dropout_prob": options.dropout,
            "dropout_prob": options.dropout,
        }
        config = Config(model=MODELS[options.model].__name__, dataset=NAME, config_dict=settings)
        training = SequentialDataset(config).build()[0]
        loader = MeasuredLoader(config, training, None, shuffle=True)
        loader.clock = Clock(options.seconds)
        model = MODELS[options.model](config, training)
        with contextlib.suppress(BudgetSpentError):
            Trainer(config, model).fit(loader, saved=False, show_progress=False)
        parameters = sum(parameter.numel() for parameter in model.parameters())
        os.chdir("/")
    report(options, "recbole", loader.clock, parameters)


if __name__ == "__main__":
    main()
