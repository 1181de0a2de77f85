"""The images' files as far as they show without an engine; ``make test-containers`` builds one."""

import hashlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from ssm4rec.ops import backend
from ssm4rec.runtime.images import ROLES

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "images"


def run(*command: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **variables}
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def instructions(role: str) -> list[str]:
    """Return the instructions of a Dockerfile, one a line."""
    text = re.sub(r"^#.*\n", "", (IMAGES / role / "Dockerfile").read_text(), flags=re.MULTILINE)
    return text.replace("\\\n", " ").splitlines()


@pytest.mark.parametrize("role", ROLES)
def test_no_base_moves_and_no_entry_point(role: str) -> None:
    lines = instructions(role)
    bases = [line.partition("=")[2] for line in lines if re.match(r"ARG (BASE|CUDA)_IMAGE=", line)]
    assert all(re.search(r":.*\d+\.\d+\.\d+", base) for base in bases)
    images = [line.split()[1] for line in lines if line.startswith("FROM")]
    stages = {line.split()[3] for line in lines if line.startswith("FROM") and " AS " in line}
    assert set(images) - stages <= {"${BASE_IMAGE}", "${CUDA_IMAGE}"}
    # NVIDIA's may have one; llm stands on train.
    assert [line for line in lines if line.startswith("ENTRYPOINT")] == {"train": ["ENTRYPOINT []"]}.get(role, [])
    assert lines[-1] == 'CMD ["python", "-m", "ssm4rec", "--version"]'


def test_the_train_image_is_built_only_if_every_kernel_loads() -> None:
    """It imports what the operators import on a GPU, not the compiled modules alone."""
    lines = instructions("train")
    (check,) = (line for line in lines if line.startswith("RUN python -m ssm4rec --version"))
    assert {name for (_, kind), name in backend._FUSED.items() if kind == "cuda"} <= set(re.findall(r"[\w.]+", check))
    assert any("MAMBA_KEEP_CUDA_BUILD=TRUE" in line for line in lines)


@pytest.mark.parametrize("role", ROLES)
def test_context_has_what_is_copied(role: str) -> None:
    """``.dockerignore`` lets nothing through that it does not name."""
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignore
    allowed = [line[1:] for line in ignore if line.startswith("!")]
    copied = [
        name
        for line in instructions(role)
        if line.startswith("COPY") and "--from" not in line
        for name in line.split()[1:-1]
    ]
    assert copied
    for name in copied:
        assert (ROOT / name).exists()
        assert any(name == known or known.startswith(f"{name}/") for known in allowed), name


def test_requirements_are_those_of_the_package() -> None:
    done = run("images/requirements.py", "dependencies", "tracking")
    assert done.stdout.split() == ["numpy", "pyarrow", "pydantic", "tqdm", "typing-extensions", "mlflow-skinny"]
    assert "has no list gpus; it has dependencies, data, train" in run("images/requirements.py", "gpus").stderr


SETUP = """
cc_flag = []
if old:
    cc_flag.append("-gencode")
    cc_flag.append("arch=compute_70,code=sm_70")
cc_flag.append("-gencode")
cc_flag.append("arch=compute_80,code=sm_80")
if new:
    cc_flag.append("-gencode")
    cc_flag.append("arch=compute_90,code=sm_90")
"""


def test_kernels_are_compiled_for_the_chosen_architectures(tmp_path: Path) -> None:
    """The form of setup.py in mamba-ssm 2.3.2 and causal-conv1d 1.7.0."""
    setup = tmp_path / "setup.py"
    setup.write_text(SETUP)
    chosen = run("images/train/select_architectures.py", setup, "80", "90")
    assert chosen.returncode == 0
    found: dict[str, list[str]] = {}
    exec("old = new = True\n" + setup.read_text(), {}, found)
    assert found["cc_flag"] == ["-gencode", "arch=compute_80,code=sm_80", "-gencode", "arch=compute_90,code=sm_90"]
    missing = run("images/train/select_architectures.py", setup, "100")
    assert (missing.returncode, missing.stdout) == (1, "")
    assert f"{setup}: has 80, 90 sm architectures, not 100; read it again" in missing.stderr


def test_every_pin_is_one_version() -> None:
    lines = (IMAGES / "constraints.txt").read_text().splitlines() + (IMAGES / "tools.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][^ ]*|#.*", line) for line in lines)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--only", "gpu"], "--only gpu: unknown; choose from cpu, train, llm, serve"),
        ([], "there is no docker command on this machine; install Docker's client"),
    ],
)
def test_build_says_what_is_missing(flags: list[str], message: str, tmp_path: Path) -> None:
    failed = run("images/build.py", *flags, PATH=str(tmp_path))
    assert failed.returncode == 2
    assert failed.stderr == f"python -m images.build: error: {message}\n"


HASHES = IMAGES / "constraints.hashes.txt"


def report(folder: Path, **urls: str) -> Path:
    """Write what ``pip install --dry-run --report`` says of packages NAME__VERSION at addresses; return the file."""
    install = [
        {
            "metadata": {"name": name.partition("__")[0], "version": name.partition("__")[2].replace("_", ".")},
            "download_info": {"url": url, "archive_info": {"hashes": {"sha256": "a" * 64}}},
        }
        for name, url in urls.items()
    ]
    (folder / "report.json").write_text(json.dumps({"install": install}))
    return folder / "report.json"


def test_every_pin_of_an_image_has_hashes() -> None:
    """After a change of a pin: ``make hashes``."""
    text = HASHES.read_text()
    wanted = set(re.findall(r"(?m)^[^#\s]+", (IMAGES / "constraints.txt").read_text()))
    for role in ROLES:
        lines = "\n".join(instructions(role)).replace("ARG PIP_VERSION=", "pip==")
        wanted |= set(re.findall(r"\b[a-z0-9-]+==\d[\w.]*", lines))
    assert wanted == set(re.findall(r"(?m)^[^#\s]\S*(?= \\$)", text))
    assert re.fullmatch(r"(#.*\n|\S+==\S+ \\\n(    --hash=sha256:[0-9a-f]{64}( \\)?\n)+)+", text)


def test_every_pin_of_the_server_has_hashes_and_decides_nothing_anew() -> None:
    """What computes is of the versions that models are trained and tested with."""
    hashes = (IMAGES / "serve" / "requirements.hashes.txt").read_text()
    listed = (IMAGES / "serve" / "requirements.txt").read_text()
    pinned = dict(re.findall(r"(?m)^([a-z0-9-]+)==([^\s;]+)(?:; .*)?$", listed))
    assert dict(re.findall(r"(?m)^([a-z0-9-]+)==(\S+) \\$", hashes)) == pinned
    assert re.fullmatch(r"(#.*\n|\S+==\S+ \\\n(    --hash=sha256:[0-9a-f]{64}( \\)?\n)+)+", hashes)
    shared = dict(re.findall(r"(?m)^([a-z0-9-]+)==(\S+)$", (IMAGES / "constraints.txt").read_text()))
    for name in ("torch", "numpy", "safetensors", "tokenizers", "pyarrow", "pydantic"):
        assert pinned[name] == shared[name]
    assert not {*pinned} & {"mlflow", "mlflow-skinny", "kfp", "polars", "ray", "transformers"}


@pytest.mark.parametrize("role", ROLES)
def test_nothing_is_installed_without_its_hash(role: str) -> None:
    """What installs from an index does so by a list of lock.py; wheels of the build itself by ``--no-index``."""
    lines = " && ".join(line for line in instructions(role) if line.startswith("RUN"))
    commands = [command for command in lines.split("&&") if re.search(r"pip (install|download) ", command)]
    assert commands
    for command in commands:
        assert re.search(r"--dry-run|--no-index|--require-hashes .*--requirement \S+locked\.txt", command), command


def test_lock_lists_what_pip_chose_with_its_hashes(tmp_path: Path) -> None:
    done = run("images/lock.py", report(tmp_path, einops__0_8_2="x:/y", TyPing_Extensions__0_1="x:/z"), HASHES)
    assert done.returncode == 1
    assert "no hash of typing-extensions==0.1 in" in done.stderr
    done = run("images/lock.py", report(tmp_path, einops__0_8_2="x:/y"), HASHES)
    assert re.fullmatch(r"einops==0\.8\.2( --hash=sha256:[0-9a-f]{64})+\n", done.stdout)
    assert done.stderr == ""
    names = tmp_path / "names.txt"
    names.write_text("mamba-ssm\neinops==0.8.2\n")
    assert re.findall(r"(?m)^(\S+) --hash", run("images/lock.py", names, HASHES).stdout) == [
        re.search(r"mamba-ssm==\S+", HASHES.read_text())[0],  # type: ignore[index]
        "einops==0.8.2",
    ]


def test_what_comes_from_elsewhere_gets_the_hash_it_has_and_a_warning(tmp_path: Path) -> None:
    wheel = tmp_path / "torch-2.13.0+cpu-cp311.whl"
    wheel.write_bytes(b"a build of torch")
    urls = {"torch__2_13_0+cpu": wheel.as_uri(), "einops__9_0": "x:/einops.whl"}
    done = run("images/lock.py", report(tmp_path, **urls), HASHES, "torch", "einops")
    digest = hashlib.sha256(b"a build of torch").hexdigest()
    assert done.stdout.splitlines() == [
        f"torch==2.13.0+cpu --hash=sha256:{digest}",
        f"einops==9.0 --hash=sha256:{'a' * 64}",
    ]
    assert done.stderr.count("WARNING: ") == 2
    refused = run("images/lock.py", report(tmp_path, **urls), HASHES, "einops")
    assert (refused.returncode, refused.stdout) == (1, "")


def test_pip_refuses_a_file_that_is_not_the_published_one(tmp_path: Path) -> None:
    """The list that lock.py prints, given to pip with a wheel of that name and version that someone has changed."""
    name = "einops-0.8.2-py3-none-any.whl"
    with zipfile.ZipFile(tmp_path / name, "w") as wheel:
        wheel.writestr("einops/__init__.py", "stolen = True\n")
        wheel.writestr("einops-0.8.2.dist-info/METADATA", "Metadata-Version: 2.1\nName: einops\nVersion: 0.8.2\n")
        wheel.writestr("einops-0.8.2.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("einops-0.8.2.dist-info/RECORD", "")
    locked = tmp_path / "locked.txt"
    locked.write_text(run("images/lock.py", report(tmp_path, einops__0_8_2="x:/y"), HASHES).stdout)
    flags = ["--no-index", "--no-deps", "--find-links", tmp_path, "--target", tmp_path / "out", "--requirement", locked]
    done = run("-m", "pip", "install", "--require-hashes", *map(str, flags), PIP_CONFIG_FILE=os.devnull)
    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stderr
    assert not (tmp_path / "out" / "einops").exists()


def test_the_hashes_are_of_files_that_an_image_can_use() -> None:
    spec = importlib.util.spec_from_file_location("hashes", IMAGES / "hashes.py")
    assert spec
    assert spec.loader
    hashes = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hashes)
    files = {
        "a_b-1.0-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl": "1",
        "a_b-1.0-cp39-abi3-manylinux2014_aarch64.whl": "2",
        "a_b-1.0-cp310-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64.whl": "2b",
        "a_b-1.0-cp314-abi3-manylinux_2_17_x86_64.whl": "2c",
        "a_b-1.0-py3-none-any.whl": "3",
        "a_b-1.0-cp310-cp310-manylinux_2_28_x86_64.whl": "4",
        "a_b-1.0-cp311-cp311-musllinux_1_2_x86_64.whl": "5",
        "a_b-1.0-cp311-cp311-win_amd64.whl": "6",
        "a_b-1.0.post1-py3-none-any.whl": "7",
        "a_b-1.0.tar.gz": "8",
        "a_b-1.0-odd.exe": "9",
    }
    page = {"files": [{"filename": name, "hashes": {"sha256": digest}} for name, digest in files.items()]}
    assert hashes.published(page, "a-b", "1.0") == ["1", "2", "2b", "3"]
    sources = {"files": [file for file in page["files"] if str(file["filename"]).endswith((".gz", ".exe"))]}
    assert hashes.published(sources, "a-b", "1.0") == ["8"]
    # Wheels for one of the Pythons do not do for the others.
    part = {"files": [file for file in page["files"] if file["hashes"]["sha256"] in "128"]}
    assert hashes.published(part, "a-b", "1.0") == ["1", "2", "8"]
    with pytest.raises(SystemExit, match=r"no file of a-b==2\.0 for an image"):
        hashes.published(page, "a-b", "2.0")


FAKE_DOCKER = """#!{python}
import os, subprocess, sys
with open(os.environ["CALLS"], "a") as calls:
    print(*sys.argv[1:], file=calls)
match sys.argv[1:]:
    case ["buildx", *_]:
        print('{{"digest": "sha256:{digest}", "size": 1}}')
    case ["image", *_]:
        print(1_000_000_000)
    case ["run", *rest]:
        sys.exit(subprocess.call(rest[4:]))
"""


@pytest.fixture
def docker(tmp_path: Path) -> dict[str, str]:
    """A docker that notes how it is called in the file calls; the variables that make it the one that is found."""
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(FAKE_DOCKER.format(python=sys.executable, digest="d" * 64))
    program.chmod(0o755)
    return {"PATH": f"{program.parent}:{os.environ['PATH']}", "CALLS": str(tmp_path / "calls")}


def test_bases_are_resolved_to_digests_and_recorded(docker: dict[str, str]) -> None:
    given = f"mirror/python:3.12.1@sha256:{'e' * 64}"
    done = run("images/build.py", "--only", "cpu,train", "--base-image", given, "--resolve-bases", **docker)
    assert done.returncode == 0, done.stderr
    asked = [call for call in Path(docker["CALLS"]).read_text().splitlines() if call.startswith("buildx")]
    assert [call.split()[-1] for call in asked] == [
        "nvidia/cuda:13.0.1-devel-ubuntu24.04",
        "nvidia/cuda:13.0.1-base-ubuntu24.04",
    ]
    cpu, train = [call for call in Path(docker["CALLS"]).read_text().splitlines() if call.startswith("build ")]
    assert f"--build-arg=BASE_IMAGE={given} " in cpu
    assert f"--label=org.opencontainers.image.base.digest=sha256:{'e' * 64} " in cpu
    for name in ("CUDA_IMAGE=nvidia/cuda:13.0.1-devel", "BASE_IMAGE=nvidia/cuda:13.0.1-base"):
        assert f"--build-arg={name}-ubuntu24.04@sha256:{'d' * 64} " in train
    assert f"train: CUDA_IMAGE=nvidia/cuda:13.0.1-devel-ubuntu24.04@sha256:{'d' * 64}\n" in done.stdout


@pytest.mark.parametrize(
    ("role", "hashes"), [("cpu", "constraints.hashes.txt"), ("serve", "serve/requirements.hashes.txt")]
)
def test_torch_from_another_index_is_named(docker: dict[str, str], role: str, hashes: str) -> None:
    done = run("images/build.py", "--only", role, "--torch-index", "x:/cpu", **docker)
    assert f"{role}: NOT checked against images/{hashes}: torch\n" in done.stdout
    assert (IMAGES / hashes).exists()
    assert "--build-arg=UNHASHED=torch " in Path(docker["CALLS"]).read_text()


def test_the_workflow_resolves_bases_keeps_a_list_and_uses_actions_by_commit() -> None:
    text = (ROOT / ".github" / "workflows" / "images.yml").read_text()
    assert all(re.fullmatch(r"[0-9a-f]{40}", commit) for commit in re.findall(r"uses: \S+@(\S+)", text))
    assert text.count("images/build.py") == text.count("--resolve-bases") == 2
    assert "images/sbom.sh sbom" in text
    assert re.search(r"cyclonedx-bom==\d", text)


CUDA_TORCH = {
    "torch": "==2.13.0", "cuda-toolkit": "==13.0.3", "cuda-bindings": "<14,>=13.0.3", "cuda-pathfinder": ">=1.4.2",
    "nvidia-cudnn-cu13": "==9.20.0.48", "nvidia-cusparselt-cu13": "==0.8.1", "nvidia-nccl-cu13": "==2.29.7",
    "nvidia-nvshmem-cu13": "==3.4.5", "triton": "==3.7.1", "nvidia-cublas": "==13.1.1.3.*",
    "nvidia-cuda-cupti": "==13.0.85.*", "nvidia-cuda-nvrtc": "==13.0.88.*", "nvidia-cuda-runtime": "==13.0.96.*",
    "nvidia-cufft": "==12.0.0.61.*", "nvidia-cufile": "==1.15.1.6.*", "nvidia-curand": "==10.4.0.35.*",
    "nvidia-cusolver": "==12.0.4.66.*", "nvidia-cusparse": "==12.6.3.3.*", "nvidia-nvjitlink": "<14,>=13.0.88",
    "nvidia-nvtx": "==13.0.85.*",
}  # fmt: skip
"""What the CUDA build of torch requires on Linux: Requires-Dist in the METADATA of the wheels torch 2.13.0,
cuda-toolkit 13.0.3.0 (of the extras that torch names) and cuda-bindings 13.5.0, as the package index has them
(2026-11-30)."""


def test_what_the_cuda_build_of_torch_requires_has_pins_and_hashes() -> None:
    """An environment with the CPU build, such as that of the tests, has none of it; the images of GPUs need it all."""
    pins = dict(line.split("==") for line in (IMAGES / "constraints.txt").read_text().splitlines() if "==" in line)
    hashed = (IMAGES / "constraints.hashes.txt").read_text()
    for name, specifier in CUDA_TORCH.items():
        assert SpecifierSet(specifier).contains(Version(pins[name])), name
        assert f"\n{name}=={pins[name]} \\\n    --hash=sha256:" in hashed, name
