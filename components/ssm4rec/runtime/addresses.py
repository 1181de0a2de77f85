"""Addresses and texts without the secrets that they may carry: the one place that knows what is secret."""

import os
import re
from typing import Final

_SECRET_VARIABLES: Final = (
    "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN",
    "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "REDIS_PASSWORD",
)  # fmt: skip
_SHORTEST_SECRET: Final = 6
"""Variables of fewer letters are left: hiding each "test" of a text would hide nothing and confuse."""

_ADDRESS: Final = re.compile(r'\b([A-Za-z][A-Za-z0-9+.-]*)://((?:(?!,\s*[A-Za-z][A-Za-z0-9+.-]*://)[^\s"<>])*)')
"""Up to a space, a quotation mark or the next address of a list."""

_NO_PORT: Final = re.compile(r"^([^\[]*?):(?!\d*$).*")
"""What a host and port cannot be: a user and a password without their @, or with it later."""

_SECRET_PLACES: Final = (
    # "Max retries exceeded with url: /data.csv?signature=...", as urllib3 names what it asked for
    (re.compile(r'(\burl: /[^\s?"]*)\?[^\s"]*'), r"\1"),
    # "Port could not be cast to integer value as 'secret'", of http://me:secret/...
    (re.compile(r"(cast to integer value as )'[^']*'"), r"\1'***'"),
    # me:secret@host/file, an address without its scheme
    (re.compile(r"(?<![^\s'\"(,=])[^\s:/@'\"(,=]+:[^\s/@]+@(?=[^\s@])"), ""),
    (re.compile(r"\bhf_[A-Za-z0-9]{8,}"), "hf_***"),
)


def public_text(text: str) -> str:
    """Return a text, such as an address, a list of them or an error, without users, passwords, queries and tokens.

    Queries go because signed addresses carry secrets there.

    >>> public_text("https://me:secret@example.org:8080/data.csv?signature=abc")
    'https://example.org:8080/data.csv'
    >>> public_text("s3://KEY:SECRET@bucket/a.csv,postgresql://me:secret@host/db")
    's3://bucket/a.csv,postgresql://host/db'
    >>> public_text("file:///data/what?.csv")
    'file:///data/what?.csv'
    """
    for name in _SECRET_VARIABLES:
        value = os.environ.get(name, "")
        if len(value) >= _SHORTEST_SECRET:
            text = text.replace(value, "***")
    text = _ADDRESS.sub(_public_address, text)
    for pattern, shown in _SECRET_PLACES:
        text = pattern.sub(shown, text)
    return text


def carries_secret(address: str) -> bool:
    """Return whether an address has a user, a password or a query.

    >>> carries_secret("https://me:secret@example.org"), carries_secret("https://example.org:8080/runs")
    (True, False)
    """
    return _ADDRESS.sub(_public_address, address) != address


def _public_address(found: re.Match[str]) -> str:
    scheme, rest = found.groups()
    if scheme.lower() == "file":
        return found.group()
    bare = rest.rstrip(":;,.)]}'")
    end = rest[len(bare) :]
    authority = re.split("[/?#]", bare, maxsplit=1)[0]
    if "@" in authority:
        bare = bare[authority.rindex("@") + 1 :]
    elif "@" in bare and (_NO_PORT.search(authority) or ("[" in authority and "]" not in authority)):
        # A password with a slash, a question mark or a hash in it, not written as %2F, seems to end the authority.
        bare = bare.rpartition("@")[2]
    authority = re.split("[/?#]", bare, maxsplit=1)[0]
    bare = _NO_PORT.sub(r"\1", authority) + bare[len(authority) :]
    return f"{scheme}://{re.split('[?#]', bare, maxsplit=1)[0]}{end}"
