"""The data of the studies that take a published data set as it is: prepared once, the same way."""

from typing import Any

from pipelines.hardware import on_cpu, reads_object_store
from ssm4rec.components import prepare_data


def prepare_published(
    dataset: Any,
    name: Any,
    source: Any,
    items_source: Any,
    data_version: Any,
    any_checksum: Any,
    cache_dir: Any,
    event_order: Any,
    k_core: Any,
) -> Any:
    """Prepare a data set, leave-one-out, and return its folder; the arguments are pipeline parameters."""
    prepared = prepare_data(
        dataset_name=dataset,
        name=name,
        source=source,
        items_source=items_source,
        data_version=data_version,
        any_checksum=any_checksum,
        cache_dir=cache_dir,
        form="raw",
        format="auto",
        delimiter="auto",
        encoding="auto",
        bad_rows="refuse",
        user_column="user_id",
        item_column="item_id",
        time_column="timestamp",
        time_unit="auto",
        rating_column="",
        title_column="title",
        deduplicate="none",
        minimum_rating="none",
        event_order=event_order,
        k_core=k_core,
        split="leave-one-out",
        validation_fraction=0.1,
        test_fraction=0.1,
        time_target="successive",
    )
    on_cpu(prepared, cpus=2, memory_gib=8, hours=3)
    reads_object_store(prepared)
    return prepared.outputs["dataset"]
