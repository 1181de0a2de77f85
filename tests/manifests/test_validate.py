"""manifests/validate.py: clean on what is committed, and every planted mistake is caught.

Runs in the project's environment and, with --noconftest, in the tools environment of ``make manifests``.
"""

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import yaml

MANIFESTS = Path(__file__).parents[2] / "manifests"
NAMES = ("kind", "a100", "kind-login", "a100-login", "nodes", "trainjob", "serving", "serving-users")

needs_kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")


@pytest.fixture
def needs_schemas() -> None:
    reason = "kubernetes-validate is not installed; make manifests has it"
    pytest.importorskip("kubernetes_validate", reason=reason)


@pytest.fixture
def needs_linter() -> None:
    pytest.importorskip("checkov", reason="checkov is not installed; make manifests has it")


def load(manifests: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("validate", manifests / "validate.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


validate = load(MANIFESTS)

Plant = Callable[[str, str, str], ModuleType]


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    """Return a function that copies the manifests, changes a text in one file and loads the copy's validate.py."""

    def planted(file: str, old: str, new: str) -> ModuleType:
        copy = tmp_path / "manifests"
        shutil.copytree(MANIFESTS, copy)
        text = (copy / file).read_text()
        assert old in text
        (copy / file).write_text(text.replace(old, new, 1))
        return load(copy)

    return planted


def rendering(name: str) -> str:
    return (MANIFESTS / "rendered" / f"{name}.yaml").read_text()


def outside(name: str) -> dict[tuple[str, str], set[str]]:
    found = validate.secrets(MANIFESTS / "secrets")
    for other in validate.BESIDE.get(name, ()):
        found |= validate.definitions(validate.parse(rendering(other)))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_every_reference_resolves(name: str) -> None:
    documents = validate.parse(rendering(name))
    assert [reference for document in documents for reference in validate.references(document)]
    assert list(validate.reference_problems(documents, outside(name))) == []


@pytest.mark.parametrize(
    ("name", "old", "new", "problem"),
    [
        ("kind", "name: ssm4rec-object-store", "name: ssm4rec-store", "Secret ssm4rec-store is defined nowhere"),
        ("kind", "key: POSTGRES_USER", "key: USER", "Secret ssm4rec-mlflow has no key USER"),
        (
            "a100",
            "serviceAccountName: ssm4rec-mlflow",
            "serviceAccountName: mlflow",
            "ServiceAccount mlflow is defined",
        ),
        ("trainjob", "claimName: ssm4rec-cache", "claimName: cache", "PersistentVolumeClaim cache is defined nowhere"),
        ("trainjob", "    name: ssm4rec-train\n  trainer:", "    name: other\n  trainer:", "TrainingRuntime other is"),
        (
            "serving",
            "serviceAccountName: ssm4rec-serve",
            "serviceAccountName: me",
            "ServiceAccount me is defined nowhere",
        ),
        ("serving-users", "claimName: ssm4rec-users", "claimName: u", "PersistentVolumeClaim u is defined nowhere"),
    ],
)
def test_dangling_reference_is_caught(name: str, old: str, new: str, problem: str) -> None:
    text = rendering(name)
    assert old in text
    [line] = validate.reference_problems(validate.parse(text.replace(old, new, 1)), outside(name))
    assert problem in line


@needs_kubectl
@pytest.mark.parametrize("name", NAMES)
def test_committed_renderings_are_current(name: str) -> None:
    text = validate.render(MANIFESTS / validate.RENDERINGS[name])
    assert list(validate.golden_problems(name, text, MANIFESTS / "rendered")) == []


@needs_kubectl
def test_stale_rendering_is_caught(plant: Plant) -> None:
    copy = plant("base/mlflow.yaml", "periodSeconds: 10", "periodSeconds: 11")
    text = copy.render(copy.MANIFESTS / "overlays/kind")
    [line] = copy.golden_problems("kind", text, copy.MANIFESTS / "rendered")
    assert "rendered/kind.yaml" in line
    assert "--write" in line


@needs_kubectl
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("needs_schemas")
def test_documents_keep_to_the_schemas(name: str) -> None:
    documents = validate.parse(validate.render(MANIFESTS / validate.RENDERINGS[name]))
    assert list(validate.schema_problems(documents)) == []


@needs_kubectl
@pytest.mark.usefixtures("needs_schemas")
@pytest.mark.parametrize(
    ("file", "old", "new", "name", "where"),
    [
        ("base/mlflow.yaml", "replicas: 1", "replicas: one", "kind", "spec.replicas"),
        ("base/mlflow.yaml", "periodSeconds: 20", 'periodSeconds: "20"', "a100", "livenessProbe.periodSeconds"),
        ("base/postgresql.yaml", "replicas: 1", "replicas: 1\n  replica: 2", "kind", "'replica' was unexpected"),
        ("base/network-policies.yaml", "policyTypes:", "policyType:", "a100", "'policyType' was unexpected"),
        ("trainjob/trainjob.yaml", "numNodes: 2", "numNodes: two", "trainjob", "spec.trainer.numNodes"),
        ("trainjob/trainjob.yaml", "numNodes: 2", "nodes: 2", "trainjob", "'nodes' was unexpected"),
        ("trainjob/trainjob.yaml", "name: ml-1m-", "name: 1m-", "trainjob", "metadata.name"),
        ("trainjob/runtime.yaml", "torch: {}", "torch: {numProcPerNode: 8}", "trainjob", "spec.mlPolicy.torch"),
        ("trainjob/runtime.yaml", "status: Complete", "status: Done", "trainjob", "dependsOn.0.status"),
        ("trainjob/runtime.yaml", "backoffLimit: 0", "backoffLimit: none", "trainjob", "ssm4rec-train-node: spec.back"),
        ("trainjob/runtime.yaml", "medium: Memory", "media: Memory", "trainjob", "'media' was unexpected"),
        ("serving/inference-service.yaml", "minReplicas: 2", "replicas: 2", "serving", "'replicas' was unexpected"),
        ("serving/inference-service.yaml", "Mode: Standard", "Mode: Plain", "serving", "deploymentMode: 'Plain'"),
        ("serving/inference-service.yaml", "seconds: 5", "second: 5", "serving", "ssm4rec-predictor: "),
        ("serving/inference-service.yaml", "name: kserve-container", "name: serve", "serving", "containers.0.name"),
        ("serving-users/kustomization.yaml", "{type: Recreate", "{kind: Recreate", "serving-users", "'kind' was"),
    ],
)  # fmt: skip
def test_mistake_in_a_document_is_caught(plant: Plant, file: str, old: str, new: str, name: str, where: str) -> None:
    copy = plant(file, old, new)
    [line] = copy.schema_problems(copy.parse(copy.render(copy.MANIFESTS / copy.RENDERINGS[name])))
    assert where in line


@pytest.mark.usefixtures("needs_schemas")
@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ("", "", ""),
        ("numProcPerNode: 8", "numProcPerNode: auto", "spec.trainer.numProcPerNode"),
        ("resourcesPerNode:", "resources:", "'resources' was unexpected"),
        ("manager: ssm4rec/stage", "manager: ssm4rec", "spec.runtimePatches.0.manager"),
        ("nodeSelector:", "nodeSelektor:", "'nodeSelektor' was unexpected"),
        ("mountPath: /cache", "path: /cache", "'mountPath' is a required property"),
    ],
)
def test_what_a_stage_asks_for_keeps_to_the_schema(old: str, new: str, where: str) -> None:
    """The TrainJob of train_recommender --nodes, as tests/runtime/test_trainjob.py has it rendered."""
    text = (Path(__file__).parent / "nodes_trainjob.yaml").read_text()
    assert old in text
    problems = list(validate.schema_problems(validate.parse(text.replace(old, new, 1))))
    assert [where in line for line in problems] == ([True] if where else [])


@pytest.mark.usefixtures("needs_schemas")
@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ("", "", ""),
        ("maxReplicas: 2", "maxReplicas: two", "workerGroupSpecs.0.maxReplicas"),
        ("headGroupSpec:", "headGroup:", "'headGroup' was unexpected"),
        ("num-cpus: '0'", "num-cpus: 0", "headGroupSpec.rayStartParams.num-cpus"),
        ("claimName: ssm4rec-cache", "claim: ssm4rec-cache", "submitter: spec.volumes.0.persistentVolumeClaim"),
    ],
)
def test_the_rayjob_that_a_stage_asks_for_keeps_to_the_schema(old: str, new: str, where: str) -> None:
    """That of prepare_data --nodes, as tests/runtime/test_rayjob.py has it rendered."""
    text = (Path(__file__).parent / "nodes_rayjob.yaml").read_text()
    assert old in text
    problems = list(validate.schema_problems(validate.parse(text.replace(old, new, 1))))
    assert [where in line for line in problems] == ([True] if where else [])


@pytest.mark.usefixtures("needs_linter")
@pytest.mark.parametrize(
    ("name", "old", "new", "check"),
    [
        ("kind", "allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true", "CKV_K8S_20"),
        ("a100", "type: RuntimeDefault", "type: Unconfined", "CKV_K8S_31"),
        ("trainjob", "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "CKV_K8S_22"),
        ("serving", "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "CKV_K8S_22"),
    ],
)
def test_unsafe_pod_is_caught(name: str, old: str, new: str, check: str) -> None:
    documents = validate.parse(rendering(name).replace(old, new, 1))
    assert any(check in line for line in validate.lint_problems({name: documents}))


@needs_kubectl
@pytest.mark.usefixtures("needs_schemas")
def test_program_names_every_problem_in_a_line_and_exits_2(plant: Plant) -> None:
    copy = plant("base/mlflow.yaml", "name: ssm4rec-object-store", "name: ssm4rec-store")
    finished = subprocess.run(
        [sys.executable, copy.MANIFESTS / "validate.py"], capture_output=True, text=True, check=False
    )
    assert finished.returncode == 2
    assert finished.stderr.splitlines() == [
        f"manifests/validate.py: error: {problem}"
        for overlay in NAMES
        if overlay not in validate.BESIDE
        for problem in (
            f"overlays/{overlay}: Deployment ssm4rec-mlflow: Secret ssm4rec-store is defined nowhere",
            f"rendered/{overlay}.yaml is not what overlays/{overlay} renders to; python manifests/validate.py --write",
        )
    ]


def test_missing_kubectl_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    finished = subprocess.run([sys.executable, MANIFESTS / "validate.py"], capture_output=True, text=True, check=False)
    assert finished.returncode == 2
    [line] = finished.stderr.splitlines()
    assert "kubectl is missing; install it" in line


@needs_kubectl
def test_folder_that_does_not_render_is_said_in_one_line(plant: Plant) -> None:
    copy = plant("overlays/kind/kustomization.yaml", "../../base", "../../nowhere")
    with pytest.raises(copy.ManifestError, match="nowhere") as error:
        copy.render(copy.MANIFESTS / "overlays/kind")
    assert "\n" not in str(error.value)


@needs_kubectl
def test_secrets_render_from_filled_in_examples(plant: Plant) -> None:
    copy = plant("secrets/mlflow.env.example", "POSTGRES_PASSWORD=", "POSTGRES_PASSWORD=planted")
    for example in (copy.MANIFESTS / "secrets").rglob("*.example"):
        shutil.copy(example, example.with_suffix(""))
    folders = (copy.MANIFESTS / "secrets", copy.MANIFESTS / "secrets" / "login")
    documents = [document for folder in folders for document in copy.parse(copy.render(folder))]
    rendered = {("Secret", document["metadata"]["name"]): set(document["data"]) for document in documents}
    assert rendered == copy.secrets(copy.MANIFESTS / "secrets")
    assert {document["metadata"]["namespace"] for document in documents} == {"kubeflow"}


KFP_STAND_IN = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: ml-pipeline
  namespace: kubeflow
spec:
  template:
    spec:
      containers:
        - name: ml-pipeline-api-server
          image: ghcr.io/kubeflow/kfp-api-server:2.17.2
"""
ARGO_STAND_IN = """\
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: workflow-controller-configmap
  namespace: kubeflow
data:
  executor: kept
  workflowDefaults: |
    spec:
      templateDefaults:
        retryStrategy: {limit: '2', retryPolicy: OnError}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: argo-role
  namespace: kubeflow
rules:
  - apiGroups: [""]
    resources: [pods]
    verbs: [create]
"""
KFP_POLICY_STAND_IN = """\
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: default-allow-same-namespace
  namespace: kubeflow
spec:
  podSelector: {}
"""


@needs_kubectl
@pytest.mark.parametrize("policy", ["", KFP_POLICY_STAND_IN])
def test_kfp_gets_the_plugin_and_leaves_the_database_alone(plant: Plant, policy: str) -> None:
    """On a stand-in for KFP's own manifests, with and without its policy: the real ones are on the internet."""
    remote = "https://github.com/kubeflow/pipelines/manifests/kustomize/env/platform-agnostic?ref=2.17.2"
    copy = plant("kfp/pipelines/kustomization.yaml", remote, "stand-in.yaml")
    folder = copy.MANIFESTS / "kfp" / "pipelines"
    (folder / "stand-in.yaml").write_text(KFP_STAND_IN + policy)
    documents = {document["kind"]: document for document in copy.parse(copy.render(folder))}
    assert list(copy.reference_problems(list(documents.values()), {})) == []
    [container] = documents["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "ghcr.io/kubeflow/kfp-api-server:2.17.2"
    [mount] = container["volumeMounts"]
    assert (mount["mountPath"], mount["subPath"]) == ("/config/config.json", "config.json")
    assert yaml.safe_load(documents["ConfigMap"]["data"]["config.json"])["plugins"]["mlflow"]
    if policy:
        selector = documents["NetworkPolicy"]["spec"]["podSelector"]
        assert selector == {"matchLabels": {"application-crd-id": "kubeflow-pipelines"}}


@needs_kubectl
def test_argo_tries_what_failed_again_and_may_keep_large_templates(plant: Plant) -> None:
    """On a stand-in for what KFP 2.17.0 brings of Argo (third-party/argo/base of its manifests)."""
    remote = "https://github.com/kubeflow/pipelines/manifests/kustomize/env/platform-agnostic?ref=2.17.2"
    copy = plant("kfp/pipelines/kustomization.yaml", remote, "stand-in.yaml")
    folder = copy.MANIFESTS / "kfp" / "pipelines"
    (folder / "stand-in.yaml").write_text(KFP_STAND_IN + ARGO_STAND_IN)
    documents = {document["metadata"]["name"]: document for document in copy.parse(copy.render(folder))}
    data = documents["workflow-controller-configmap"]["data"]
    assert data["executor"] == "kept"
    strategy = yaml.safe_load(data["workflowDefaults"])["spec"]["templateDefaults"]["retryStrategy"]
    assert strategy == {"limit": "0", "retryPolicy": "Always"}
    pods, configmaps = documents["argo-role"]["rules"]
    assert pods["resources"] == ["pods"]
    assert configmaps == {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create", "delete"]}
