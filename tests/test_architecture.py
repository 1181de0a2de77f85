"""The import rules of the house, read off the source; see components/README.md, "The package"."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "components" / "ssm4rec"
SOURCES = sorted(PACKAGE.rglob("*.py"))
STAGES = sorted(path.parent.name for path in (PACKAGE / "stages").glob("*/__main__.py"))
LAYERS = (
    ("runtime", "ops"),
    ("artifacts",),
    ("data", "models", "optim"),
    ("evaluation",),
    ("training", "scaling"),
    ("latency", "llm", "registry"),
    ("recipes", "report", "settings"),
    ("serving", "tracking"),
    ("studies",),
    ("stages",),
)
"""The folders of ``ssm4rec``, in the order of what each may import: none of its own layer, none of a later one."""

INNER = (
    "artifacts", "data", "ops", "models", "training", "optim", "llm", "evaluation", "latency", "registry", "report",
    "scaling", "serving",
)  # fmt: skip


def imports(path: Path) -> set[str]:
    """Return the dotted names a file imports, at its top or inside its functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def users_of(*packages: str) -> set[str]:
    """Return the files of ssm4rec that import one of ``packages``."""
    return {
        path.relative_to(PACKAGE).as_posix()
        for path in SOURCES
        if any(name == package or name.startswith(f"{package}.") for name in imports(path) for package in packages)
    }


def test_only_components_import_kfp() -> None:
    assert users_of("kfp") == {"settings/kfp_component.py"}
    assert users_of("ssm4rec.settings.kfp_component") == {f"stages/{stage}/component.py" for stage in STAGES}


def test_only_tracking_and_the_registered_model_import_mlflow() -> None:
    served = {f"registry/{name}.py" for name in ("mlflow_model", "recommendation_model", "serving")}
    outside = {name for name in users_of("mlflow") if not name.startswith("tracking/")}
    assert outside == served


def test_inner_packages_know_no_command_line() -> None:
    outside = users_of(
        "argparse", "ssm4rec.settings.command_line", "ssm4rec.tracking", "ssm4rec.settings.executor_input"
    )
    programs = {"serving/__main__.py"}
    assert not {name for name in outside if name.split("/")[0] in INNER} - programs


def test_a_stage_is_imported_by_itself_alone() -> None:
    """And by the list of all components, which no stage imports."""
    for name in users_of("ssm4rec.stages") - {"stages/components.py"}:
        stage = ".".join(("ssm4rec", *Path(name).parts[:2]))
        foreign = [one for one in imports(PACKAGE / name) if one.startswith("ssm4rec.stages.")]
        assert all(one.startswith(f"{stage}.") for one in foreign), name


def test_only_stages_import_recipes() -> None:
    assert all(name.startswith("stages/") for name in users_of("ssm4rec.recipes.recommenders"))


def test_ops_import_nothing_of_ours() -> None:
    outside = {path.relative_to(PACKAGE).as_posix(): imports(path) for path in (PACKAGE / "ops").glob("*.py")}
    for name, found in outside.items():
        assert not {one for one in found if one.startswith("ssm4rec.") and not one.startswith("ssm4rec.ops.")}, name


def reached_from(room: str) -> set[str]:
    """Return what the files of a room import, and the files of ours that these import, and so on."""
    reached: set[str] = set()
    waiting = {*(PACKAGE / room).glob("*.py")}
    while waiting:
        found = imports(waiting.pop()) - reached
        reached |= found
        ours = [PACKAGE.parent.joinpath(*name.split(".")) for name in found if name.startswith("ssm4rec.")]
        waiting |= {path for place in ours for path in (place.with_suffix(".py"), place.parent.with_suffix(".py"))}
        waiting = {path for path in waiting if path.exists()}
    return {name.split(".")[0] for name in reached}


def test_serving_needs_neither_pandas_nor_mlflow() -> None:
    """A server's image has what it serves with, and not what makes a model known to others."""
    reached = reached_from("serving")
    assert {"torch", "kserve"} <= reached
    assert not reached & {"pandas", "mlflow", "kfp", "polars", "scipy", "boto3", "requests"}


def test_only_the_server_imports_kserve() -> None:
    """Which is not among this environment's packages: it wants other versions of pandas and psutil."""
    packages = ("kserve", "prometheus_client", "fastapi", "starlette", "uvicorn")
    assert users_of(*packages) == {"serving/server.py"}


def test_data_needs_no_torch() -> None:
    assert not {name for name in users_of("torch") if name.split("/")[0] in ("artifacts", "data", "report", "studies")}


@pytest.mark.parametrize("room", ["artifacts", "report", "scaling", "studies"])
def test_files_and_reports_load_no_torch(room: str) -> None:
    """Nor does anything that they import: a report is written where there is no torch."""
    files = sorted((PACKAGE / room).rglob("*.py"))
    modules = [".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in files]
    code = f"import sys, {', '.join(modules)}; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_names_of_models_load_no_torch() -> None:
    code = "import sys, ssm4rec.models.table; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_rooms_import_only_rooms_of_earlier_layers() -> None:
    """So none imports upward, and there is no circle of rooms."""
    height = {room: height for height, layer in enumerate(LAYERS) for room in layer}
    assert set(height) == {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    upward = {
        (path.relative_to(PACKAGE).as_posix(), name)
        for path in SOURCES
        if (room := path.relative_to(PACKAGE).parts[0]) in height
        for name in imports(path)
        if (other := name.split(".")[1] if name.startswith("ssm4rec.") else room) in height
        and other != room
        and height[other] >= height[room]
    }
    assert not upward


@pytest.mark.parametrize("stage", STAGES)
def test_a_container_needs_no_kfp(stage: str) -> None:
    """The stage's process imports with kfp made unimportable."""
    before = {name: module for name, module in sys.modules.items() if name.split(".")[0] in ("kfp", "ssm4rec")}
    for name in before:
        del sys.modules[name]
    sys.modules["kfp"] = None  # type: ignore[assignment]
    try:
        importlib.import_module(f"ssm4rec.stages.{stage}.__main__")
    finally:
        # With the root package, or the old modules would be in sys.modules and the new ones its attributes.
        for name in [name for name in sys.modules if name.split(".")[0] in ("kfp", "ssm4rec")]:
            del sys.modules[name]
        sys.modules.update(before)


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_is_a_whole_folder(stage: str) -> None:
    names = {path.name for path in (PACKAGE / "stages" / stage).iterdir() if path.is_file()}
    assert names >= {"__init__.py", "__main__.py", "component.py", "settings.py", "metadata.yaml", "README.md"}


def test_stage_table_lists_every_stage() -> None:
    table = (ROOT / "components" / "README.md").read_text(encoding="utf-8")
    for stage in STAGES:
        assert f"[{stage}](ssm4rec/stages/{stage}/README.md)" in table


def test_top_level_is_what_was_agreed() -> None:
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")}
    assert folders - {"runs"} == {"pipelines", "components", "images", "manifests", "tests"}
