"""The connection to a cluster's Kubeflow Pipelines, by kfp's own client."""

import json
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ssm4rec.runtime.addresses import public_text
from ssm4rec.runtime.errors import InputError, reason


def endpoint_of(chosen: str) -> str:
    """Return the address of KFP's API, the chosen one or the environment's; raise InputError if there is none."""
    endpoint = chosen or os.environ.get("KF_PIPELINES_ENDPOINT") or os.environ.get("KFP_ENDPOINT")
    if not endpoint:
        raise InputError(
            "no KFP endpoint is set: export KF_PIPELINES_ENDPOINT=http://… (such as the address of "
            "`kubectl port-forward -n kubeflow svc/ml-pipeline-ui 8080:80`) or pass --endpoint"
        )
    return endpoint


@contextmanager
def connected(endpoint: str) -> Iterator[Any]:
    """Yield kfp's client.

    It shows the endpoint in lines of its own, so that it gets it without a user and a password. It would send neither:
    urllib3's PoolManager takes host, port and path of an address.

    In a KFP of several users the variables that kfp's own command reads say who asks: KFP_NAMESPACE and
    KFP_EXISTING_TOKEN. Raise InputError if nothing answers there, or the server refuses, also while the client is used.
    """
    import kfp_server_api
    import urllib3.exceptions
    from kfp import client  # it takes a second to import

    namespace = os.environ.get("KFP_NAMESPACE") or "kubeflow"
    token = os.environ.get("KFP_EXISTING_TOKEN") or None
    if (host := public_text(endpoint)) != endpoint:
        print(f"{host}: kfp's client sends no user and no password of an address; KFP_EXISTING_TOKEN says who asks")
    # urllib3 warns of each attempt that fails, and kfp logs a traceback: what it came to is said once, below.
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of servers older than itself, whichever it talks to
            made = client.Client(host=host, namespace=namespace, existing_token=token)
            _check_kfp(made, host)
            yield made
    except kfp_server_api.ApiException as error:
        raise InputError(f"{host}: KFP answers {error.status} {error.reason}: {error.body}") from None
    except TimeoutError:  # of kfp's own question, tried five times
        raise InputError(f"{host}: what answers there is not KFP; is the right port forwarded?") from None
    except UnicodeDecodeError:
        raise InputError(_not_kfp(host, "is not text")) from None
    except urllib3.exceptions.HTTPError as error:
        cause = error.reason if isinstance(error, urllib3.exceptions.MaxRetryError) and error.reason else error
        raise InputError(f"{host}: no KFP answers there ({reason(cause)}); is the port forwarded?") from None
    finally:
        logging.disable(logging.NOTSET)


def _check_kfp(client: Any, host: str) -> None:
    """Raise InputError if the server's answer is not a JSON object: kfp's client takes any other for an empty one."""
    ask = client.healthzs.healthz_service_get_healthz
    ask()
    text = ask.__self__.api_client.last_response.data
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise InputError(_not_kfp(host, f"begins with {' '.join(text[:60].split())!r}"))


def _not_kfp(host: str, found: str) -> str:
    return (
        f"{host}: what answers there is not KFP (it {found}); is the right port forwarded, and, if it is a login page, "
        "KFP_EXISTING_TOKEN set?"
    )
