"""The prepare_data stage as KFP sees it."""

from kfp import dsl
from kfp.dsl import Dataset, Output

from ssm4rec.images import CPU_IMAGE


@dsl.container_component  # type: ignore[untyped-decorator] # kfp publishes no types
def prepare_data(
    dataset_name: str,
    name: str,
    source: str,
    items_source: str,
    data_version: str,
    any_checksum: bool,
    cache_dir: str,
    form: str,
    format: str,
    delimiter: str,
    encoding: str,
    bad_rows: str,
    user_column: str,
    item_column: str,
    time_column: str,
    time_unit: str,
    rating_column: str,
    title_column: str,
    event_order: str,
    deduplicate: str,
    minimum_rating: str,
    k_core: int,
    split: str,
    validation_fraction: float,
    test_fraction: float,
    time_target: str,
    dataset: Output[Dataset],
) -> dsl.ContainerSpec:
    """Fetch a data set, filter, order and split it.

    Args:
        dataset_name: name of the data set, or events for your own.
        name: of your own data set, or empty: that of its file.
        source: addresses of the events instead of the official one, or empty.
        items_source: address of the titles instead of the official one, or empty, or none.
        data_version: state of the source files when the run started, or empty.
        any_checksum: accept a file whose checksum is not the published one.
        cache_dir: folder of downloads that outlives the container, or empty.
        form: of Amazon Reviews '23, raw or rating_only.
        format: of events, auto, csv, jsonl or parquet.
        delimiter: of CSV files, auto, comma, tab, semicolon, pipe or space.
        encoding: of CSV and JSONL files, such as latin-1, or auto.
        bad_rows: refuse a file with unreadable rows, or drop them.
        user_column: of events.
        item_column: of events.
        time_column: of events.
        time_unit: of events, auto, s, ms, us, ns or order.
        rating_column: of events, or empty.
        title_column: of the items file.
        event_order: exact, recbole or random-ties.
        deduplicate: none, first or last.
        minimum_rating: a number, or none.
        k_core: fewest events of a user and of an item.
        split: leave-one-out or global-time.
        validation_fraction: share of the events, for global-time.
        test_fraction: share of the events, for global-time.
        time_target: successive, last, random or first, for global-time.
        dataset: the dataset folder.
    """
    return dsl.ContainerSpec(
        image=CPU_IMAGE,
        command=["python", "-m", "ssm4rec.stages.prepare_data"],
        args=[
            "--dataset", dataset_name,
            "--name", name,
            "--source", source,
            "--items-source", items_source,
            "--data-version", data_version,
            "--any-checksum", any_checksum,
            "--cache-dir", cache_dir,
            "--form", form,
            "--format", format,
            "--delimiter", delimiter,
            "--encoding", encoding,
            "--bad-rows", bad_rows,
            "--user-column", user_column,
            "--item-column", item_column,
            "--time-column", time_column,
            "--time-unit", time_unit,
            "--rating-column", rating_column,
            "--title-column", title_column,
            "--event-order", event_order,
            "--deduplicate", deduplicate,
            "--minimum-rating", minimum_rating,
            "--k-core", k_core,
            "--split", split,
            "--validation-fraction", validation_fraction,
            "--test-fraction", test_fraction,
            "--time-target", time_target,
            "--dataset-dir", dataset.path,
        ],
    )  # fmt: skip
