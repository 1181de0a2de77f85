"""Files at http(s):// and s3:// addresses as streams that can begin anywhere."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import botocore.exceptions
import requests
import smart_open.http
import smart_open.s3
import urllib3.exceptions

from ssm4rec.runtime.addresses import public_text
from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.object_store import CONNECT_SECONDS, READ_SECONDS, s3_client, split_s3_address

# Too busy, gone for a moment, or (412) replaced while it was read: worth another attempt. Other 4xx answers are not.
_PASSING_STATUS: Final = {408, 412, 425, 429, 500, 502, 503, 504}


_MISSING_STATUS: Final = {404, 410}


class UnreachableError(InputError):
    """The file cannot be had from its address; another source may have it."""


class MissingError(UnreachableError):
    """The server says that nothing is at the address."""


class InterruptedAttemptError(Exception):
    """This attempt failed; the next one may not."""


@dataclass(frozen=True)
class Remote:
    """An opened remote file.

    Attributes:
        stream: the file, at its beginning; ``seek(n)`` asks the server to begin at byte n and raises
            io.UnsupportedOperation if it cannot.
        bytes: its size, or None if the server does not tell.
        version: changes when the file changes; "" if the server does not tell.
    """

    stream: io.BufferedIOBase
    bytes: int | None
    version: str


@contextmanager
def open_remote(address: str) -> Iterator[Remote]:
    """Open ``address``; what fails here or while the stream is read is sorted by whether to try again.

    Raises:
        InterruptedAttemptError: no connection, a broken one, or a server that is busy.
        UnreachableError: the server says no.
    """
    shown = public_text(address)
    try:
        with _open_s3(address) if address.startswith("s3://") else _open_http(address) as remote:
            yield remote
    except requests.HTTPError as error:
        status = error.response.status_code
        if status in _PASSING_STATUS:
            raise InterruptedAttemptError(f"the server answers {status} {error.response.reason}") from error
        kind = MissingError if status in _MISSING_STATUS else UnreachableError
        raise kind(f"{shown}: the server answers {status} {error.response.reason}; check --source") from None
    except (requests.ConnectionError, requests.Timeout, urllib3.exceptions.HTTPError) as error:
        raise InterruptedAttemptError(_reason(error)) from error
    except requests.RequestException as error:
        raise UnreachableError(f"{shown}: {_reason(error)}; check --source") from None
    except botocore.exceptions.ClientError as error:
        raise _s3_refusal(shown, error) from error
    except botocore.exceptions.NoCredentialsError:
        raise UnreachableError(
            f"{shown}: no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY "
            "(and AWS_ENDPOINT_URL_S3 unless it is Amazon's store)"
        ) from None
    except (botocore.exceptions.HTTPClientError, botocore.exceptions.ConnectionError) as error:
        raise InterruptedAttemptError(_reason(error)) from error
    except (botocore.exceptions.BotoCoreError, ValueError) as error:
        raise UnreachableError(f"{shown}: {_reason(error)}; check --source") from None


@contextmanager
def _open_http(address: str) -> Iterator[Remote]:
    # Declared as a number, but requests takes two: for connecting and for each read.
    timeout: Any = (CONNECT_SECONDS, READ_SECONDS)
    with smart_open.http.SeekableBufferedInputBase(address, timeout=timeout) as stream:
        headers = stream.response.headers if stream.response else {}
        length = stream.content_length
        version = headers.get("ETag") or headers.get("Last-Modified") or ""
        yield Remote(stream, None if length < 0 else length, version)


@contextmanager
def _open_s3(address: str) -> Iterator[Remote]:
    bucket, key = split_s3_address(address)
    client = s3_client(attempts=1)  # one place decides on attempts: download.py
    head = client.head_object(Bucket=bucket, Key=key)
    version = head.get("ETag", "")
    # Every later request is for this very version, or is refused.
    conditions = {"S3.Client.get_object": {"IfMatch": version}} if version else {}
    try:
        with smart_open.s3.open(bucket, key, "rb", defer_seek=True, client=client, client_kwargs=conditions) as stream:
            yield Remote(stream, head["ContentLength"], version)
    except OSError as error:
        if error.errno is not None or error.__cause__ is None:
            raise
        # smart_open's wrapping of the store's answer.
        raise error.__cause__ from None


def _s3_refusal(shown: str, error: botocore.exceptions.ClientError) -> Exception:
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    answer = f"{status} {error.response.get('Error', {}).get('Message', '')}".strip()
    if status in _PASSING_STATUS:
        return InterruptedAttemptError(f"the store answers {answer}")
    kind = MissingError if status in _MISSING_STATUS else UnreachableError
    return kind(f"{shown}: the store answers {answer}; check --source, its bucket and your credentials")


def _reason(error: Any) -> str:
    """Return the innermost cause in words: requests and urllib3 wrap it three layers deep."""
    while (inner := getattr(error, "reason", None) or next(iter(error.args[:1]), None)) and isinstance(
        inner, BaseException
    ):
        error = inner
    return " ".join(str(error).split())
