"""Amazon Reviews '23: raw reviews or the rating-only tables, titles from the product metadata.

Licence: none given, so do not redistribute. https://amazon-reviews-2023.github.io/ (Hou et al., arXiv 2403.03952)
"""

from dataclasses import replace
from typing import Final

from ssm4rec.data.bad_rows import NEGATIVE_TIME
from ssm4rec.data.events import Table, read_tables
from ssm4rec.data.locations import expand_addresses, format_of_name
from ssm4rec.data.source import Source, SourceOptions, titles_source
from ssm4rec.runtime.errors import InputError

FORMS: Final = ("raw", "rating_only")
PREFIX: Final = "amazon-2023-"

_BASE: Final = "https://mcauleylab.ucsd.edu/public_datasets/data/amazon_2023"
_ALIASES: Final = {"beauty": "Beauty_and_Personal_Care", "games": "Video_Games"}

CATEGORIES: Final = (
    "All_Beauty", "Amazon_Fashion", "Appliances", "Arts_Crafts_and_Sewing", "Automotive", "Baby_Products",
    "Beauty_and_Personal_Care", "Books", "CDs_and_Vinyl", "Cell_Phones_and_Accessories",
    "Clothing_Shoes_and_Jewelry", "Digital_Music", "Electronics", "Gift_Cards", "Grocery_and_Gourmet_Food",
    "Handmade_Products", "Health_and_Household", "Health_and_Personal_Care", "Home_and_Kitchen",
    "Industrial_and_Scientific", "Kindle_Store", "Magazine_Subscriptions", "Movies_and_TV", "Musical_Instruments",
    "Office_Products", "Patio_Lawn_and_Garden", "Pet_Supplies", "Software", "Sports_and_Outdoors",
    "Subscription_Boxes", "Tools_and_Home_Improvement", "Toys_and_Games", "Unknown", "Video_Games",
)  # fmt: skip


def category(dataset: str) -> str:
    """Return the official category name of an ``amazon-2023-...`` data set.

    >>> category("amazon-2023-video-games"), category("amazon-2023-beauty"), category("amazon-2023-CDs_and_Vinyl")
    ('Video_Games', 'Beauty_and_Personal_Care', 'CDs_and_Vinyl')

    Raise InputError if there is no such category.
    """
    slug = dataset.removeprefix(PREFIX).lower().replace("_", "-")
    by_slug = {name.lower().replace("_", "-"): name for name in CATEGORIES}
    if slug in _ALIASES:
        return _ALIASES[slug]
    if slug not in by_slug:
        raise InputError(f"--dataset {dataset}: no such category; the categories are {', '.join(sorted(by_slug))}")
    return by_slug[slug]


def amazon_addresses(options: SourceOptions) -> tuple[str, str]:
    """Return the addresses of the reviews and of the titles of one category, separated by commas.

    With the official addresses the titles come from the official metadata; with ``options.source`` only from
    ``options.items_source``. Raise InputError if there is no such category.
    """
    name = category(options.dataset)
    reviews = f"{_BASE}/raw/review_categories/{name}.jsonl.gz"
    if options.form == "rating_only":
        reviews = f"{_BASE}/benchmark/0core/rating_only/{name}.csv.gz"
    metadata = "" if options.source else f"{_BASE}/raw/meta_categories/meta_{name}.jsonl.gz"
    return options.source or reviews, titles_source(options, metadata)


def read_amazon(options: SourceOptions) -> Source:
    """Read one category, from the addresses that :func:`amazon_addresses` says.

    The official files hold a few reviews from before 1970: they are dropped and counted. Raise InputError if a file
    cannot be had or is malformed.
    """
    reviews, metadata = amazon_addresses(options)
    kind = "jsonl" if options.form == "raw" else "csv"
    told = replace(
        options,
        user_column="user_id",
        item_column="parent_asin",
        time_column="timestamp",
        rating_column="rating",
        title_column="title",
        words_column="",
        time_unit="ms",
    )
    columns = dict.fromkeys((told.user_column, told.item_column, told.time_column, told.rating_column), "")
    titled = dict.fromkeys((told.item_column, told.title_column), "")
    return read_tables(
        [Table(address, kind, columns) for address in expand_addresses(reviews)],
        [Table(address, format_of_name(address) or "jsonl", titled) for address in expand_addresses(metadata)],
        told,
        always_drop={NEGATIVE_TIME},
    )
