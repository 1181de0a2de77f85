"""What the committed renderings promise: safe pods, no secrets, nothing dangling, the rules of the GPU pool."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.hardware import (
    A100_80GB,
    DOWNLOADS_LABEL,
    GPU_NODE_LABELS,
    GPU_TAINTS,
    OBJECT_STORE_SECRET,
    OBJECT_STORE_VARIABLES,
)
from ssm4rec import __version__
from ssm4rec.runtime.rayjob import RAY_LABEL
from ssm4rec.runtime.trainjob import NODE
from ssm4rec.serving.__main__ import build_parser as build_server
from ssm4rec.stages.prepare_data.settings import Settings as PrepareDataSettings
from ssm4rec.stages.train_recommender.nodes import RUNTIME
from ssm4rec.stages.train_recommender.settings import Settings as TrainRecommenderSettings

ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "manifests"
SERVER = ROOT / "components" / "ssm4rec" / "serving" / "server.py"
OVERLAYS = ("kind", "a100", "kind-login", "a100-login")
SERVING = ("serving", "serving-users")
NAMES = (*OVERLAYS, "nodes", "trainjob", *SERVING)
OUTSIDE = (
    {"app": "seaweedfs"},
    {"app": "ml-pipeline"},
    {"component": "metadata-grpc-server"},
    {"k8s-app": "kube-dns"},
    {"app.kubernetes.io/name": "ssm4rec-train"},
    {"app.kubernetes.io/name": "ssm4rec-mlflow"},
    {"app.kubernetes.io/name": "kuberay-operator"},
    {RAY_LABEL: "true"},
)
"""Labels of pods that the cluster or another rendering brings."""
STAGE = {"workflows.argoproj.io/workflow": "run-x"}
"""What Argo puts on a pipeline's pods: the drivers' and the stages'."""
KFP = {"application-crd-id": "kubeflow-pipelines", "app": "ml-pipeline"}
"""What KFP 2.17 puts on its own pods: its manifests/kustomize/env/platform-agnostic/kustomization.yaml."""

Document = dict[str, Any]


def rendering(name: str) -> list[Document]:
    return list(yaml.safe_load_all((MANIFESTS / "rendered" / f"{name}.yaml").read_text()))


def of_kind(name: str, kind: str) -> list[Document]:
    return [document for document in rendering(name) if document["kind"] == kind]


def pods(name: str) -> dict[str, Document]:
    """The pod templates of a rendering, by the name of their container."""
    found = [document["spec"]["template"] for kind in ("Deployment", "StatefulSet") for document in of_kind(name, kind)]
    for runtime in of_kind(name, "TrainingRuntime"):
        jobs = runtime["spec"]["template"]["spec"]["replicatedJobs"]
        found += [job["template"]["spec"]["template"] for job in jobs]
    for service in of_kind(name, "InferenceService"):  # whose predictor is a pod and some fields of KServe
        predictor = service["spec"]["predictor"]
        found.append({"metadata": {"labels": predictor["labels"]}, "spec": predictor})
    return {pod["spec"]["containers"][0]["name"]: pod for pod in found}


PODS = [pytest.param(pod, id=f"{name}-{container}") for name in NAMES for container, pod in pods(name).items()]


def test_every_workload_is_among_the_pods() -> None:
    assert [parameter.id for parameter in PODS] == [
        *(f"{overlay}-{container}" for overlay in OVERLAYS for container in ("mlflow", "postgresql")),
        "nodes-node",
        "trainjob-prepare-data",
        "trainjob-node",
        "serving-kserve-container",
        "serving-users-kserve-container",
    ]


@pytest.mark.parametrize("pod", PODS)
def test_pod_is_locked_down(pod: Document) -> None:
    spec = pod["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert spec["serviceAccountName"] != "default"
    assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
    for container in spec["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


@pytest.mark.parametrize("pod", PODS)
def test_pod_says_what_it_needs_and_may_take(pod: Document) -> None:
    for container in pod["spec"]["containers"]:
        for bound in ("requests", "limits"):
            assert container["resources"][bound].keys() >= {"cpu", "memory"}
    for volume in pod["spec"]["volumes"]:
        assert "hostPath" not in volume
        if "emptyDir" in volume:
            assert volume["emptyDir"]["sizeLimit"]


@pytest.mark.parametrize("name", NAMES)
def test_every_mount_has_its_volume(name: str) -> None:
    databases = of_kind(name, "StatefulSet")
    claims = [claim["metadata"]["name"] for database in databases for claim in database["spec"]["volumeClaimTemplates"]]
    for pod in pods(name).values():
        volumes = [volume["name"] for volume in pod["spec"]["volumes"]] + claims
        for container in pod["spec"]["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} <= set(volumes)


def test_images_are_pinned_to_the_versions_in_use() -> None:
    used = [pod for name in NAMES for pod in pods(name).values()]
    images = {container["image"] for pod in used for container in pod["spec"]["containers"]}
    constraints = (ROOT / "images" / "constraints.txt").read_text()
    mlflow = re.search(r"^mlflow==(.+)$", constraints, re.MULTILINE)
    assert mlflow
    assert f"ghcr.io/mlflow/mlflow:v{mlflow[1]}-full" in images
    assert {f"ssm4rec-{role}:{__version__}" for role in ("cpu", "train", "serve")} <= images
    for image in images:
        assert re.search(r":v?\d+\.\d+[\w.-]*$|@sha256:[0-9a-f]{64}$", image), image


@pytest.mark.parametrize("name", NAMES)
def test_no_secret_stands_in_a_rendering(name: str) -> None:
    assert not of_kind(name, "Secret")
    for pod in pods(name).values():
        for container in pod["spec"]["containers"]:
            plain = [entry["name"] for entry in container.get("env", []) if "value" in entry]
            assert not [variable for variable in plain if re.search("PASSWORD|KEY|TOKEN|STORE_URI", variable)]
    assert not re.search(r"://[^/\s:]+:[^@\s]+@", (MANIFESTS / "rendered" / f"{name}.yaml").read_text())


def test_examples_of_secrets_hold_none_and_git_ignores_the_real_ones() -> None:
    for example in (MANIFESTS / "secrets").glob("*.env.example"):
        assert re.search(r"(?m)^\w+(PASSWORD|ACCESS_KEY)=$", example.read_text())
    assert (MANIFESTS / "secrets" / ".gitignore").read_text().split() == ["*.env", "*.ini", "*.part"]
    assert not re.search("(?i)accesskey|password", (MANIFESTS / "kfp" / "pipelines" / "config.json").read_text())


def test_stages_find_the_secret_that_is_made_for_them() -> None:
    kustomization = yaml.safe_load((MANIFESTS / "secrets" / "kustomization.yaml").read_text())
    assert OBJECT_STORE_SECRET in {generator["name"] for generator in kustomization["secretGenerator"]}
    assert kustomization["generatorOptions"]["disableNameSuffixHash"] is True
    example = (MANIFESTS / "secrets" / "object-store.env.example").read_text()
    assert tuple(re.findall(r"(?m)^(\w+)=", example)) == OBJECT_STORE_VARIABLES


def selects(selector: Document, labels: dict[str, str]) -> bool:
    """Whether a label selector is true of labels, as Kubernetes reads it."""
    true = selector.get("matchLabels", {}).items() <= labels.items()
    for expression in selector.get("matchExpressions", []):
        value = labels.get(expression["key"])
        match expression["operator"]:
            case "Exists":
                true &= value is not None
            case "NotIn":  # also true where the label is missing
                true &= value not in expression["values"]
            case operator:
                raise NotImplementedError(operator)
    return true


def matches(labels: dict[str, str], name: str) -> list[Document]:
    return [pod for pod in pods(name).values() if labels.items() <= pod["metadata"]["labels"].items()]


def peers(policy: Document) -> Iterator[Document]:
    for rule in policy["spec"].get("ingress", []):
        yield from rule["from"]
    for rule in policy["spec"].get("egress", []):
        yield from rule["to"]


@pytest.mark.parametrize("name", NAMES)
def test_network_policies_name_real_pods(name: str) -> None:
    """Every pod of a rendering has its one exception to the default, and no peer's labels are misspelt."""
    where = "nodes" if name == "trainjob" else name  # it is applied in addition to that
    policies = [one for one in of_kind(where, "NetworkPolicy") if one["metadata"]["name"] != "ssm4rec-default-deny"]
    for pod in pods(name).values():
        labels = pod["metadata"]["labels"]
        assert sum(selects(policy["spec"]["podSelector"], labels) for policy in policies) == 1
    for policy in policies:
        assert "Egress" in policy["spec"]["policyTypes"]
        for peer in peers(policy):
            labels = peer.get("podSelector", {}).get("matchLabels", {})
            assert not labels or labels in OUTSIDE or matches(labels, name), labels


def allowed(name: str, labels: dict[str, str]) -> set[tuple[str, int]]:
    """What a pod with these labels may open connections to, by the policies of a rendering: (whom, port)."""
    policies = [policy["spec"] for policy in of_kind(name, "NetworkPolicy")]
    mine = [
        policy for policy in policies if selects(policy["podSelector"], labels) and "Egress" in policy["policyTypes"]
    ]
    assert mine, "nothing is forbidden to it"
    found = set()
    for rule in [rule for policy in mine for rule in policy.get("egress", [])]:
        for peer in rule["to"]:
            who = (
                peer["ipBlock"]["cidr"] if "ipBlock" in peer else ",".join(peer["podSelector"]["matchLabels"].values())
            )
            found |= {(who, port["port"]) for port in rule["ports"]}
    return found


def accepted(name: str, labels: dict[str, str]) -> list[Document]:
    """Whom a pod with these labels takes connections from: the selectors of all rules."""
    policies = [policy["spec"] for policy in of_kind(name, "NetworkPolicy")]
    mine = [
        policy for policy in policies if selects(policy["podSelector"], labels) and "Ingress" in policy["policyTypes"]
    ]
    assert mine, "it is open to all"
    return [peer["podSelector"] for policy in mine for rule in policy.get("ingress", []) for peer in rule["from"]]


PUBLIC = {("0.0.0.0/0", 80), ("0.0.0.0/0", 443)}
PRIVATE = {
    (block, port)
    for block in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")
    for port in (443, 6443)
}
DNS = {("kube-dns", 53)}


@pytest.mark.parametrize("name", OVERLAYS)
def test_by_default_nothing_is_allowed(name: str) -> None:
    stranger = {"app": "notebook"}
    assert allowed(name, stranger) == set()
    assert accepted(name, stranger) == []
    policies = {policy["metadata"]["name"]: policy["spec"] for policy in of_kind(name, "NetworkPolicy")}
    assert not selects(policies["ssm4rec-default-deny"]["podSelector"], KFP)


@pytest.mark.parametrize("name", OVERLAYS)
def test_a_stage_reaches_what_it_needs_and_nobody_reaches_a_stage(name: str) -> None:
    needed = DNS | {("ml-pipeline", 8887), ("ml-pipeline", 8888), ("metadata-grpc-server", 8080), ("seaweedfs", 8333)}
    needed |= {("ssm4rec-mlflow", 5000)} | PRIVATE
    assert allowed(name, STAGE) == needed
    assert allowed(name, STAGE | dict([DOWNLOADS_LABEL])) == needed | PUBLIC
    assert accepted(name, STAGE) == []


@pytest.mark.parametrize("name", OVERLAYS)
def test_mlflow_is_reached_by_stages_trainjobs_and_kfp(name: str) -> None:
    mlflow, train = pods(name)["mlflow"]["metadata"]["labels"], pods("trainjob")["node"]["metadata"]["labels"]
    selectors = accepted(name, mlflow)
    known = (STAGE, train, {RAY_LABEL: "true"}, KFP)
    for labels, wanted in (*((one, True) for one in known), ({"app": "notebook"}, False)):
        assert any(selects(selector, labels) for selector in selectors) is wanted
    reached = DNS | {("ssm4rec-postgresql", 5432), ("seaweedfs", 8333)}
    assert allowed(name, mlflow) == (reached | {("0.0.0.0/0", 443)} if name.startswith("a100") else reached)


def test_a_trainjob_reaches_its_peers_and_what_it_needs() -> None:
    policy, reached = policy_and_reached("ssm4rec-train")
    assert reached == DNS | {("ssm4rec-mlflow", 5000)}
    assert policy["ingress"] == [{"from": [{"podSelector": policy["podSelector"]}]}]


def test_a_rayjobs_pods_reach_their_peers_and_what_they_need_and_kuberay_asks_the_head() -> None:
    policy, reached = policy_and_reached("ssm4rec-ray")
    rendered = yaml.safe_load((Path(__file__).parent / "nodes_rayjob.yaml").read_text())["spec"]
    cluster = rendered["rayClusterSpec"]
    for template in (rendered["submitterPodTemplate"], cluster["headGroupSpec"]["template"],
                     cluster["workerGroupSpecs"][0]["template"]):  # fmt: skip
        assert selects(policy["podSelector"], template["metadata"]["labels"])
        [account] = of_kind("nodes", "ServiceAccount")
        assert template["spec"]["serviceAccountName"] == account["metadata"]["name"]
        assert DOWNLOADS_LABEL[0] in template["metadata"]["labels"]
    assert reached == DNS | {("ssm4rec-mlflow", 5000), ("seaweedfs", 8333)}
    own, operator = policy["ingress"]
    assert own == {"from": [{"podSelector": policy["podSelector"]}]}
    assert operator["ports"] == [{"port": 8265}]


def policy_and_reached(name: str) -> tuple[Document, set[tuple[str, int]]]:
    """Return a policy of the nodes, and what pods of it reach besides each other: (whom, port)."""
    [policy] = [one["spec"] for one in of_kind("nodes", "NetworkPolicy") if one["metadata"]["name"] == name]
    own, *rules = policy["egress"]
    assert own == {"to": [{"podSelector": policy["podSelector"]}]}  # on any port
    return policy, {("".join(peer["podSelector"]["matchLabels"].values()), port["port"])
                    for rule in rules for peer in rule["to"] for port in rule["ports"]}  # fmt: skip


@pytest.mark.parametrize("name", OVERLAYS)
def test_of_a_trainjobs_pods_only_the_one_that_prepares_the_data_reaches_further(name: str) -> None:
    node, prepare = (pods("trainjob")[one]["metadata"]["labels"] for one in ("node", "prepare-data"))
    assert allowed(name, prepare) | allowed("trainjob", prepare) == PUBLIC | {("seaweedfs", 8333)}
    assert allowed(name, node) == set()
    assert not [one for one in of_kind("trainjob", "NetworkPolicy") if selects(one["spec"]["podSelector"], node)]


@pytest.mark.parametrize("name", NAMES)
def test_no_public_address_means_the_metadata_service(name: str) -> None:
    for policy in of_kind(name, "NetworkPolicy"):
        for peer in peers(policy):
            if peer.get("ipBlock", {}).get("cidr") == "0.0.0.0/0":
                assert "169.254.0.0/16" in peer["ipBlock"]["except"]


def test_the_stages_that_download_have_the_label() -> None:
    """By the compiled pipelines: those that read sources or language models, and no other."""
    for path in (ROOT / "pipelines" / "compiled").glob("*.yaml"):
        _, platform = yaml.safe_load_all(path.read_text())
        executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
        labelled = {
            name
            for name, one in executors.items()
            if one.get("podMetadata", {}).get("labels") == dict([DOWNLOADS_LABEL])
        }
        assert labelled == {name for name, one in executors.items() if "secretAsEnv" in one}
        assert any("prepare-data" in name for name in labelled), path.name


@pytest.mark.parametrize("name", OVERLAYS)
def test_only_mlflow_reaches_the_database(name: str) -> None:
    policies = {policy["metadata"]["name"]: policy["spec"] for policy in of_kind(name, "NetworkPolicy")}
    database = policies["ssm4rec-postgresql"]
    assert set(database["policyTypes"]) == {"Ingress", "Egress"}
    assert "egress" not in database
    [rule] = database["ingress"]
    assert [matches(peer["podSelector"]["matchLabels"], name) for peer in rule["from"]] == [[pods(name)["mlflow"]]]
    opened = {port["containerPort"] for port in pods(name)["postgresql"]["spec"]["containers"][0]["ports"]}
    assert {port["port"] for port in rule["ports"]} == opened
    way_out = {"to": [{"podSelector": database["podSelector"]}], "ports": rule["ports"]}
    assert way_out in policies["ssm4rec-mlflow"]["egress"]


@pytest.mark.parametrize("name", OVERLAYS)
def test_services_budgets_and_workloads_select_their_pods(name: str) -> None:
    for service in of_kind(name, "Service"):
        [pod] = matches(service["spec"]["selector"], name)
        ports = {port["name"] for port in pod["spec"]["containers"][0]["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} == ports
    for kind in ("Deployment", "StatefulSet", "PodDisruptionBudget"):
        for document in of_kind(name, kind):
            assert len(matches(document["spec"]["selector"]["matchLabels"], name)) == 1


@pytest.mark.parametrize("name", SERVING)
def test_the_served_model_is_asked_as_the_server_is_told(name: str) -> None:
    """Flags that the server knows, probes and metrics that it answers, and a store that fits the number of replicas."""
    (service,) = of_kind(name, "InferenceService")
    predictor = service["spec"]["predictor"]
    (container,) = predictor["containers"]
    assert container["command"] == ["python", "-m", "ssm4rec.serving"]
    options = build_server().parse_args(container["args"])
    mounts = {mount["mountPath"]: mount.get("readOnly", False) for mount in container["volumeMounts"]}
    assert mounts[f"/{options.model.parts[1]}"] is True
    assert [port["containerPort"] for port in container["ports"]] == [options.port]
    assert options.host == "0.0.0.0"
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        asked = container[probe]["httpGet"]
        assert asked["port"] == options.port
        assert asked["path"] in (f"/v2/models/{options.name}/ready", "/v2/health/live")
    grace = int(re.search(r"(?m)^_GRACE: Final = (\d+)$", SERVER.read_text())[1])  # type: ignore[index]
    pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert predictor["terminationGracePeriodSeconds"] > grace + pause
    (policy,) = of_kind(name, "NetworkPolicy")
    assert [port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]] == [options.port]
    assert policy["spec"].get("egress", []) == []
    if name == "serving-users":
        assert mounts[str(Path(options.store).parent)] is False
        assert (predictor["minReplicas"], predictor["maxReplicas"]) == (1, 1)
        assert predictor["deploymentStrategy"] == {"type": "Recreate"}
        return
    assert options.store == "memory"
    (autoscaler,) = of_kind(name, "HorizontalPodAutoscaler")
    assert autoscaler["spec"]["scaleTargetRef"]["name"] == f"{service['metadata']['name']}-predictor"
    assert autoscaler["spec"]["minReplicas"] == predictor["minReplicas"] >= 2
    (metric,) = (one["pods"]["metric"]["name"] for one in autoscaler["spec"]["metrics"] if one["type"] == "Pods")
    assert f'Gauge("{metric}"' in SERVER.read_text()
    (budget,) = of_kind(name, "PodDisruptionBudget")
    assert selects(budget["spec"]["selector"], predictor["labels"])


def test_mlflow_answers_to_every_address_that_is_given_out() -> None:
    arguments = pods("kind")["mlflow"]["spec"]["containers"][0]["args"]
    [allowed] = [argument for argument in arguments if argument.startswith("--allowed-hosts=")]
    config = json.loads((MANIFESTS / "kfp" / "pipelines" / "config.json").read_text())
    plugin = config["plugins"]["mlflow"]
    assert plugin["settings"]["injectUserEnvVars"] is True
    given = [plugin["endpoint"], plugin["settings"]["mlflowBaseURL"]]
    for pod in pods("trainjob").values():
        environment = pod["spec"]["containers"][0]["env"]
        given += [entry["value"] for entry in environment if entry["name"] == "MLFLOW_TRACKING_URI"]
    assert len(given) == 4
    assert {address.removeprefix("http://") for address in given} <= set(allowed.partition("=")[2].split(","))


def test_training_pods_follow_the_rules_of_the_gpu_pool() -> None:
    node, prepare = (pods("trainjob")[name]["spec"] for name in ("node", "prepare-data"))
    resources = node["containers"][0]["resources"]
    assert resources["limits"]["nvidia.com/gpu"] == resources["requests"]["nvidia.com/gpu"] > 0
    assert node["nodeSelector"] == A100_80GB
    assert node["tolerations"] == GPU_TAINTS
    [mount] = [mount for mount in node["containers"][0]["volumeMounts"] if mount["mountPath"] == "/dev/shm"]
    [volume] = [volume for volume in node["volumes"] if volume["name"] == mount["name"]]
    assert volume["emptyDir"]["medium"] == "Memory"

    assert not {"nodeSelector", "tolerations"} & prepare.keys()
    assert not [name for bound in prepare["containers"][0]["resources"].values() for name in bound if "gpu" in name]
    [term] = prepare["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert term["matchExpressions"] == [{"key": label, "operator": "DoesNotExist"} for label in GPU_NODE_LABELS]


@pytest.mark.parametrize("name", OVERLAYS)
def test_nothing_of_the_overlays_tolerates_gpu_nodes(name: str) -> None:
    assert not [pod for pod in pods(name).values() if "tolerations" in pod["spec"]]


def test_nodes_get_from_their_trainjob_what_the_runtime_leaves_open() -> None:
    """The names that it is made with, and no volume, pool or claim of the runtime's own that could differ."""
    [runtime] = of_kind("nodes", "TrainingRuntime")
    rendered = yaml.safe_load((Path(__file__).parent / "nodes_trainjob.yaml").read_text())
    assert rendered["spec"]["runtimeRef"]["name"] == runtime["metadata"]["name"] == RUNTIME
    [replicated] = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    node = pods("nodes")["node"]["spec"]
    assert replicated["name"] == node["containers"][0]["name"] == NODE
    assert not {"nodeSelector", "tolerations", "affinity"} & node.keys()
    assert not [volume for volume in node["volumes"] if "persistentVolumeClaim" in volume]


def test_a_task_may_do_what_it_does_and_no_more() -> None:
    """By what the stage asks an API that keeps count: tests/kubernetes_api.py."""
    [role], [binding] = of_kind("nodes", "Role"), of_kind("nodes", "RoleBinding")
    may = {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert may == {
        ("trainer.kubeflow.org", "trainjobs", "create"),
        ("trainer.kubeflow.org", "trainjobs", "get"),
        ("trainer.kubeflow.org", "trainjobs", "delete"),
        ("ray.io", "rayjobs", "create"),
        ("ray.io", "rayjobs", "get"),
        ("ray.io", "rayjobs", "delete"),
        ("jobset.x-k8s.io", "jobsets", "get"),
        ("", "pods", "get"),
        ("", "pods", "list"),
        ("", "pods/log", "get"),
        ("", "persistentvolumeclaims", "get"),
    }
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "pipeline-runner", "namespace": "kubeflow"}]


def test_trainjob_speaks_the_stages_language() -> None:
    [job], [runtime] = of_kind("trainjob", "TrainJob"), of_kind("trainjob", "TrainingRuntime")
    prepare, node = (pods("trainjob")[name]["spec"]["containers"][0] for name in ("prepare-data", "node"))
    assert shlex.join(node["command"]) == "torchrun -m ssm4rec.stages.train_recommender"
    training = TrainRecommenderSettings.parser().parse_args(job["spec"]["trainer"]["args"])
    preparation = PrepareDataSettings.parser().parse_args(prepare["args"])
    assert training.dataset_dir == preparation.dataset_dir
    mounted = {mount["mountPath"] for mount in node["volumeMounts"]}
    written = (training.dataset_dir, training.model_dir, training.curve, Path(training.checkpoint_dir))
    assert all("/" + path.parts[1] in mounted for path in written)
    replicated = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    assert [job["name"] for job in replicated] == ["prepare-data", "node"]
    assert replicated[1]["dependsOn"] == [{"name": "prepare-data", "status": "Complete"}]


def test_only_tasks_with_a_limit_of_their_own_are_tried_again() -> None:
    """Argo merges ``templateDefaults`` into every template, a DAG's as well as a pod's.

    argo-workflows v4.0.5, docs/template-defaults.md and workflow/controller/operator.go:2133 and :2313, where nothing
    asks for the kind of template; kubeflow/pipelines 2dea6fd468 says so, too ("Argo wraps each template execution in a
    retry parent node"). Always with a limit above 0 would start a loop, and what is around it, repeatedly.
    """
    kustomization = yaml.safe_load((MANIFESTS / "kfp" / "pipelines" / "kustomization.yaml").read_text())
    (patch,) = [one for one in kustomization["patches"] if one.get("target", {}).get("kind") == "ConfigMap"]
    (operation,) = yaml.safe_load(patch["patch"])
    assert operation["path"] == "/data/workflowDefaults"
    defaults = yaml.safe_load(operation["value"])["spec"]["templateDefaults"]
    assert defaults == {"retryStrategy": {"limit": "0", "retryPolicy": "Always"}}
    for package in (ROOT / "pipelines" / "compiled").glob("*.yaml"):
        spec = next(yaml.safe_load_all(package.read_text()))
        dags = [component["dag"] for component in (spec["root"], *spec["components"].values()) if "dag" in component]
        for dag in dags:
            for name, task in dag["tasks"].items():
                inner = "dag" in spec["components"][task["componentRef"]["name"]]
                assert ("retryPolicy" in task) is not inner, name  # a stage has a limit, a loop has none
