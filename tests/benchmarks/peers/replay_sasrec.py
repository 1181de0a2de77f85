"""Train RePlay's SasRec (sb-ai-lab/RePlay, replay.nn) and print how fast.

Its own Parquet reader, default SASRec transforms, ``SasRec.from_params`` with its full cross-entropy, Adam, and
Lightning. Batches hold 128 users padded to the full length. A target is a position of its ``target_padding_mask``: it
includes the first item of a history shorter than the length, which RePlay alone predicts, from nothing. Its
feed-forward layer is as wide as the model, ours is four times as wide.
"""

import tempfile
import warnings
from pathlib import Path

import pyarrow
import pyarrow.parquet
from lightning.pytorch import Callback, LightningModule, Trainer
from measurement import Clock, Sequences, read_arguments, read_sequences, report
from replay.data import FeatureHint, FeatureSource, FeatureType
from replay.data.nn import ParquetModule, TensorFeatureInfo, TensorFeatureSource, TensorSchema
from replay.nn.lightning import LightningModule as SasRecModule
from replay.nn.sequential import SasRec
from replay.nn.transform.template import make_default_sasrec_transforms


class Measurement(Callback):
    """Counts the targets and stops the training."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.clock.start()

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, outputs, batch, batch_idx: int) -> None:
        if self.clock.step(int(batch["target_padding_mask"].sum())):
            trainer.should_stop = True

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        self.clock.stop()


def write_training(sequences: Sequences, path: Path) -> None:
    """Write the training items, 0..V-1 in RePlay's numbering, one row a user."""
    lists = pyarrow.array([items - 1 for items in sequences.training()], type=pyarrow.list_(pyarrow.int64()))
    pyarrow.parquet.write_table(pyarrow.table({"item_id": lists}), path)


def main() -> None:
    """Train and print the measurement."""
    options = read_arguments(("sasrec",), batch_size=128, batch_unit="users")
    warnings.filterwarnings("ignore")
    sequences = read_sequences(options.dataset)
    padding = sequences.item_count
    schema = TensorSchema(
        [
            TensorFeatureInfo(
                "item_id",
                is_seq=True,
                feature_type=FeatureType.CATEGORICAL,
                embedding_dim=options.width,
                padding_value=padding,
                cardinality=sequences.item_count,
                feature_hint=FeatureHint.ITEM_ID,
                feature_sources=[TensorFeatureSource(FeatureSource.INTERACTIONS, "item_id")],
            )
        ]
    )
    model = SasRec.from_params(
        schema,
        embedding_dim=options.width,
        num_heads=options.heads,
        num_blocks=options.layers,
        max_sequence_length=options.max_length,
        dropout=options.dropout,
    )
    clock = Clock(options.seconds)
    trainer = Trainer(
        max_epochs=options.epochs,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        limit_val_batches=0,
        callbacks=[Measurement(clock)],
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "training.parquet"
        write_training(sequences, path)
        data = ParquetModule(
            batch_size=options.batch_size,
            # one item more than the model sees: the last is a target only
            metadata={"train": {"item_id": {"shape": options.max_length + 1, "padding": padding}}},
            transforms={"train": make_default_sasrec_transforms(schema)["train"]},
            train_path=str(path),
        )
        trainer.fit(SasRecModule(model), datamodule=data)
    report(options, "replay-rec", clock, sum(parameter.numel() for parameter in model.parameters()))


if __name__ == "__main__":
    main()
