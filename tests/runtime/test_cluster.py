"""The API as a pod finds it: by Kubernetes' variables, with its service account's files, over TLS."""

import datetime
import ipaddress
import socket
import ssl
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from kubernetes import client
from kubernetes.config import incluster_config

from ssm4rec.runtime.cluster import Cluster
from ssm4rec.runtime.errors import InputError
from tests.kubernetes_api import NAMESPACE, TOKEN, kubernetes_api


def self_signed(folder: Path) -> Path:
    """A certificate of 127.0.0.1 and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kubernetes")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + datetime.timedelta(days=1))
        .add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = folder / "server.pem"
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM) + secret)
    return file


def test_in_a_pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And another certificate than the cluster's own is no answer."""
    own = self_signed(tmp_path)
    (tmp_path / "foreign").mkdir()
    foreign = self_signed(tmp_path / "foreign")
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "namespace").write_text(f"{NAMESPACE}\n")
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KFP_POD_NAME", raising=False)
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr("ssm4rec.runtime.cluster._NAMESPACE", tmp_path / "namespace")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own)
    with kubernetes_api(tmp_path, context) as (api, _):
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", api.address.rpartition(":")[2])
        monkeypatch.setenv("HOSTNAME", "run-x-1")
        monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(own))
        assert Cluster.found().own_pod()["metadata"]["name"] == "run-x-1"
        asked = len(api.asked)
        monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(foreign))
        with pytest.raises(
            InputError, match=r"^Kubernetes' API at https://127.0.0.1:\d+ does not answer: .*(?i:certificate)"
        ):
            Cluster(Cluster.found()._api, NAMESPACE, patience=0).own_pod()
        assert len(api.asked) == asked


def test_files_of_contexts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several with colons between them, as kubectl takes them; a namespace that is left empty is the default one."""
    for name, text in {
        "contexts": "current-context: c\ncontexts: [{name: c, context: {cluster: c, user: u, namespace: }}]\n",
        "clusters": "clusters: [{name: c, cluster: {server: 'http://k:1'}}]\nusers: [{name: u, user: {token: t}}]\n",
        "open": "contexts: [\n",
        "list": "- 1\n",
    }.items():
        (tmp_path / name).write_text(text)

    def found(*names: str) -> Cluster:
        monkeypatch.setenv("KUBECONFIG", ":".join(str(tmp_path / name) for name in names))
        return Cluster.found()

    cluster = found("absent", "contexts", "clusters")
    assert (cluster.namespace, cluster._api.configuration.host) == ("default", "http://k:1")
    for name in ("open", "list", "absent", "clusters"):
        with pytest.raises(
            InputError, match=rf"^no cluster is known here \(.*\); mend what KUBECONFIG names \(.*{name}\)"
        ):
            found(name)


def test_what_is_deleted_at_the_end_waits_no_longer_than_the_process_may(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an API that takes connections and never answers."""
    monkeypatch.setattr("ssm4rec.runtime.cluster._AT_THE_END", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        host = f"http://127.0.0.1:{server.getsockname()[1]}"
        cluster = Cluster(client.ApiClient(client.Configuration(host=host)), NAMESPACE)
        began = time.monotonic()
        with pytest.raises(InputError, match=f"Kubernetes' API at {host} does not answer"):
            cluster.delete("/apis/trainer.kubeflow.org/v1alpha1/namespaces/kubeflow/trainjobs/train-x")
    assert time.monotonic() - began < 10
