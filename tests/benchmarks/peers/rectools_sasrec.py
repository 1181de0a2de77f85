"""Train RecTools' SASRecModel (MobileTeleSystems/RecTools) and print how fast.

Its own data preparator, network, full softmax loss, Adam and Lightning trainer, as ``SASRecModel.fit`` runs them; a
callback counts and stops. Batches hold 128 users (its default) padded to the full length. A target is a position of
``batch["y"]`` that is not padding. Its feed-forward layer is as wide as the model, ours is four times as wide.
"""

import warnings

import numpy
import pandas
import torch
from measurement import Clock, Sequences, read_arguments, read_sequences, report, validation_ndcg
from pytorch_lightning import Callback, LightningModule, Trainer
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel


class Measurement(Callback):
    """Counts the targets, validates between epochs if asked to, and stops the training."""

    def __init__(self, clock: Clock, sequences: Sequences, max_length: int, until_ndcg: float | None) -> None:
        self.clock, self.sequences = clock, sequences
        self.max_length, self.until_ndcg = max_length, until_ndcg

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.clock.start()

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, outputs, batch, batch_idx: int) -> None:
        if self.clock.step(int((batch["y"] != 0).sum())):
            trainer.should_stop = True

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        if self.until_ndcg is None:
            return
        self.clock.stop()
        ndcg = validation_ndcg(self.sequences, self.max_length, scorer(module, self.sequences.item_count))
        self.clock.epoch(ndcg)
        if ndcg >= self.until_ndcg:
            trainer.should_stop = True
        self.clock.start()

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        self.clock.stop()


def scorer(module: LightningModule, item_count: int):
    """Return a function from histories (B, L) of our items to scores (B, V).

    RecTools numbers the items of the training data anew; an item that is not among them scores minus infinity.
    """
    network = module.torch_model
    external = module.data_preparator.item_id_map.external_ids[1:].astype(numpy.int64)  # [0] is its padding
    internal = torch.zeros(item_count + 1, dtype=torch.int64)
    internal[torch.from_numpy(external)] = torch.arange(1, len(external) + 1)

    @torch.no_grad()
    def score(histories: torch.Tensor) -> torch.Tensor:
        network.eval()
        vectors = network.item_model.get_all_embeddings()
        last = network.encode_sessions({"x": internal[histories]}, vectors)[:, -1]
        scores = (last @ vectors.T)[:, internal[1:]]
        network.train()
        return scores.masked_fill(internal[1:] == 0, -torch.inf)

    return score


def interactions(sequences: Sequences) -> pandas.DataFrame:
    """Return the training items as RecTools' table; the time is the place in the user's history."""
    training = sequences.training()
    lengths = numpy.array([len(items) for items in training])
    place = numpy.concatenate([numpy.arange(length) for length in lengths])
    return pandas.DataFrame(
        {
            Columns.User: numpy.repeat(numpy.arange(len(training)), lengths),
            Columns.Item: numpy.concatenate(training),
            Columns.Weight: 1.0,
            Columns.Datetime: pandas.to_datetime(place, unit="s"),
        }
    )


def main() -> None:
    """Train and print the measurement."""
    options = read_arguments(("sasrec",), batch_size=128, batch_unit="users")
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    sequences = read_sequences(options.dataset)
    model = SASRecModel(
        n_blocks=options.layers,
        n_heads=options.heads,
        n_factors=options.width,
        session_max_len=options.max_length,
        dropout_rate=options.dropout,
        loss="softmax",
        batch_size=options.batch_size,
    )
    clock = Clock(options.seconds)
    model._trainer = Trainer(  # the documented place for a trainer of one's own; fit() trains with a copy of it
        max_epochs=options.epochs,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        callbacks=[Measurement(clock, sequences, options.max_length, options.until_ndcg)],
    )
    model.fit(Dataset.construct(interactions(sequences)))
    measured = next(callback for callback in model.fit_trainer.callbacks if isinstance(callback, Measurement))
    parameters = sum(parameter.numel() for parameter in model.lightning_model.torch_model.parameters())
    report(options, "rectools", measured.clock, parameters)


if __name__ == "__main__":
    main()
