"""Kubernetes' API, as a pod's service account may use it: documents are got, made and deleted by their path.

The official client finds the API, checks its certificate and renews the token. Documents stay as they are sent: the
client's classes drop fields that are newer than themselves.
"""

import json
import logging
import os
import time
from pathlib import Path
from typing import Any, Final

from ssm4rec.runtime.errors import InputError, reason

logger = logging.getLogger(__name__)

Document = dict[str, Any]

_NAMESPACE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_BUSY: Final = {429, 500, 502, 503, 504}
"""What passes by itself: an API server that starts, or a webhook's pod that does."""
_PAUSE: Final = 3.0
_TIMEOUT: Final = 30.0
_OUTPUT_TIMEOUT: Final = 10.0
_AT_THE_END: Final = 10.0
"""Seconds for what is done when this process was asked to end: Kubernetes kills it 30 seconds later."""


class Cluster:
    """A cluster's API and a namespace of it.

    Every method raises InputError, in one line, if the API refuses, or does not answer for ``patience`` seconds.
    """

    def __init__(self, api: Any, namespace: str, patience: float = 600.0) -> None:
        self._api = api
        self._patience = patience
        self.namespace = namespace

    @classmethod
    def found(cls) -> "Cluster":
        """Return the cluster of the files that KUBECONFIG names, else the one that this process is in a pod of."""
        from kubernetes import client, config  # nothing else needs it

        configuration = client.Configuration()
        files = os.environ.get("KUBECONFIG", "")
        try:
            if files:
                namespace = _by_files(files, configuration)
            else:
                config.load_incluster_config(configuration)
                namespace = _NAMESPACE.read_text(encoding="utf-8").strip()
        except (config.ConfigException, OSError) as error:
            way_out = (
                f"mend what KUBECONFIG names ({files}), or unset it in a pod that has a service account's token"
                if files
                else "run this in a pod of the cluster that has a service account's token"
            )
            raise InputError(f"no cluster is known here ({reason(error)}); {way_out}") from None
        return cls(client.ApiClient(configuration), namespace)

    def own_pod(self) -> Document:
        """Return the pod that this process runs in; KFP says its name, else it is the host's."""
        name = os.environ.get("KFP_POD_NAME") or os.environ.get("HOSTNAME", "")
        pod = self.get(f"/api/v1/namespaces/{self.namespace}/pods/{name}") if name else None
        if pod is None:
            raise InputError(f"{name or 'this machine'}: no pod of namespace {self.namespace}; run this in one")
        return pod

    def get(self, path: str, query: dict[str, str] | None = None) -> Document | None:
        """Return a document, or None if there is none of that name."""
        status, text = self._answer("GET", path, query)
        return None if status == 404 else _checked(path, status, text)

    def create(self, path: str, document: Document) -> Document | None:
        """Make a document and return it, or None if there is one of its name. Unknown fields are refused."""
        status, text = self._answer("POST", f"{path}?fieldValidation=Strict", document=document)
        return None if status == 409 else _checked(path, status, text)

    def delete(self, path: str, uid: str = "") -> bool:
        """Have a document deleted after all that was made for it, which takes a while; return whether it was there.

        With ``uid`` a later document of the same name stays.
        """
        wanted: Document = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Foreground"}
        if uid:
            wanted["preconditions"] = {"uid": uid}
        status, text = self._answer("DELETE", path, document=wanted, patience=_AT_THE_END)
        if status in (404, 409):
            return False
        _checked(path, status, text)
        return True

    def log(self, path: str, query: dict[str, str]) -> str | None:
        """Return what a container printed; nothing if it has not started or is gone, None if its node does not answer.

        It is not asked for again: a lost node's output may be away for long, while the others go on.
        """
        status, text = self._ask("GET", path, query, None, timeout=_OUTPUT_TIMEOUT)
        if status in _BUSY:
            return None
        if status in (400, 404):  # "container … is waiting to start"
            return ""
        if status != 200:
            _checked(path, status, text)
        return text

    def _answer(
        self,
        method: str,
        path: str,
        query: dict[str, str] | None = None,
        document: Document | None = None,
        patience: float | None = None,
    ) -> tuple[int, str]:
        patience = self._patience if patience is None else patience
        began, told = time.monotonic(), False
        while True:
            status, text = self._ask(method, path, query, document, timeout=min(_TIMEOUT, max(patience, 1.0)))
            if status not in _BUSY:
                break
            why = _message(text) or f"status {status}"
            if time.monotonic() - began >= patience:
                raise InputError(f"Kubernetes' API at {self._api.configuration.host} does not answer: {why}")
            if not told:
                logger.warning("Kubernetes' API does not answer (%s); asked again for %.0f seconds", why, patience)
                told = True
            time.sleep(min(_PAUSE, patience))
        if status == 404 and not _status(text):
            # Of a kind that it does not know, the server says so in a text of its own.
            _, _, group, version, *_ = path.split("/")
            raise InputError(
                f"the cluster has no {group}/{version}; install what brings it (trainer.kubeflow.org: Kubeflow Trainer "
                "2.2 or newer; ray.io: KubeRay 1.6 or newer)"
            )
        return status, text

    def _ask(
        self, method: str, path: str, query: Document | None, document: Document | None, *, timeout: float
    ) -> tuple[int, str]:
        """Return status and text of an answer, 503 for none."""
        import urllib3

        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        # Not by the client's call_api: its errors do not survive the urllib3 of today.
        self._api.update_params_for_auth(headers, [], ["BearerToken"])
        try:
            answer = self._api.rest_client.pool_manager.request(
                method,
                self._api.configuration.host + path,
                fields=query,
                body=None if document is None else json.dumps(document),
                headers=headers,
                retries=False,
                timeout=timeout,
            )
        except urllib3.exceptions.HTTPError as error:
            return 503, reason(error)
        return answer.status, answer.data.decode(errors="replace")


def _by_files(paths: str, configuration: Any) -> str:
    """Fill a configuration from files of contexts, several after each other with colons; return the namespace."""
    import yaml
    from kubernetes import config

    try:
        config.load_kube_config(paths, client_configuration=configuration)
        _, current = config.list_kube_config_contexts(paths)
        return current["context"].get("namespace") or "default"
    except (yaml.YAMLError, TypeError, AttributeError) as error:  # the client's own of a file of something else
        raise config.ConfigException(f"not a file of contexts: {reason(error)}") from None


def _checked(path: str, status: int, text: str) -> Document:
    if status in (200, 201, 202):
        try:
            found: Document = json.loads(text)
        except ValueError:
            raise InputError(f"no document of Kubernetes, but {text[:100]!r}, is the answer to {path}") from None
        return found
    message = _message(text) or f"status {status}"
    if status == 403 and " cannot " in message:
        message += "; `kubectl apply -k manifests/nodes` grants it"
    raise InputError(f"Kubernetes refuses {path.rpartition('/')[2]}: {message}")


def _status(text: str) -> Document:
    """Return the Status document of an answer, nothing if it is none (Kubernetes' API conventions, Response Status)."""
    try:
        found: Document = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) and found.get("kind") == "Status" else {}


def _message(text: str) -> str:
    return str(_status(text).get("message") or text[:300]).strip()
