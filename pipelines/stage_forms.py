"""Every stage in the form of a catalog of KFP components: ``python -m pipelines.stage_forms`` (``make check``).

As kubeflow/pipelines-components asks of each component: a ``metadata.yaml`` of its schema, and a README with a table of
inputs and outputs. The table is written from ``settings.py``, with ``--write`` (``make compile``); without, what is
wrong, stale or unverified for a year is named.
"""

import argparse
import datetime
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import docstring_parser
import yaml
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

import ssm4rec.stages
import ssm4rec.stages.components
from pipelines.packages import STAGES

FOLDER: Final = Path(ssm4rec.stages.__path__[0])
BEGIN: Final = "<!-- inputs and outputs: written by `make compile` from settings.py -->"
END: Final = "<!-- end of inputs and outputs -->"
WARN_AFTER: Final = datetime.timedelta(days=270)
STALE_AFTER: Final = datetime.timedelta(days=360)
"""Since a stage was last verified; the limits of kubeflow/pipelines-components, which removes a stale component
(scripts/check_component_freshness/check_component_freshness.py)."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Dependency(_Strict):
    """Something that must be there, with the version that is known to do."""

    name: str
    version: Annotated[str, Field(pattern=r"^(==|>=|<=)?\d+\.\d+\.\d+$")]


class Dependencies(_Strict):
    """What a component needs around it."""

    kubeflow: Annotated[list[Dependency], Field(min_length=1)]
    external_services: list[Dependency] = []


class Metadata(_Strict):
    """``metadata.yaml``, by the schema of kubeflow/pipelines-components (scripts/validate_metadata)."""

    name: str
    stability: Literal["experimental", "alpha", "beta", "stable"]
    dependencies: Dependencies
    tags: list[str] = []
    last_verified: Annotated[AwareDatetime, Field(alias="lastVerified")]
    links: dict[str, str] = {}


def table(stage: str) -> str:
    """Return the inputs and outputs of a stage's component, in Markdown."""
    component = getattr(ssm4rec.stages.components, stage)
    said = docstring_parser.parse(component.pipeline_func.__doc__).params
    descriptions = {parameter.arg_name: " ".join((parameter.description or "").split()) for parameter in said}
    lines = []
    for heading, found in (("input", component.component_spec.inputs), ("output", component.component_spec.outputs)):
        lines += ["", f"| {heading} | type | description |", "|---|---|---|"]
        lines += [
            f"| `{name}` | {_type(spec)} | {descriptions[name].replace('|', chr(92) + '|')} |"
            for name, spec in found.items()
        ]
    return "\n".join(
        [BEGIN, "## As a KFP component", "", f"`from ssm4rec.stages.components import {stage}`", *lines, "", END]
    )


def _type(spec: Any) -> str:
    kind = spec.type.removeprefix("system.").partition("@")[0]
    kind = f"list of {kind}" if spec.is_artifact_list else kind
    return f"{kind}, optional" if getattr(spec, "optional", False) else kind


def renewed(readme: str, stage: str) -> str:
    """Return a README with the stage's present table between its markers; at the end, if it has none."""
    before, marker, rest = readme.partition(BEGIN)
    after = rest.partition(END)[2] if marker else ""
    return f"{before.rstrip()}\n\n{table(stage)}{after or chr(10)}"


def wrong(stage: str, folder: Path, now: datetime.datetime) -> Iterator[str]:
    """Yield what is wrong in the folder of a stage, a line each."""
    readme, path = folder / "README.md", folder / "metadata.yaml"
    text = readme.read_text(encoding="utf-8")
    if renewed(text, stage) != text:
        yield f"{readme}: its table is not what settings.py says; run make compile"
    try:
        metadata = read_metadata(folder)
    except (OSError, yaml.YAMLError) as error:
        yield f"{path}: {' '.join(str(error).split())}"
        return
    except ValidationError as error:
        first = error.errors()[0]
        yield f"{path}: {'.'.join(map(str, first['loc'])) or 'the file'}: {first['msg']}"
        return
    if metadata.name != stage:
        yield f"{path}: name: {metadata.name}, in the folder of {stage}"
    if "Pipelines" not in {dependency.name for dependency in metadata.dependencies.kubeflow}:
        yield f"{path}: dependencies.kubeflow: no Pipelines"
    if now - metadata.last_verified > STALE_AFTER:
        yield f"{path}: lastVerified: {metadata.last_verified:%Y-%m-%d}, a year ago; run its tests, and renew the date"


def read_metadata(folder: Path) -> Metadata:
    """Return the metadata of a stage."""
    return Metadata.model_validate(yaml.safe_load((folder / "metadata.yaml").read_text(encoding="utf-8")))


def due(folder: Path, now: datetime.datetime) -> bool:
    """Return whether a stage, valid as it is, should soon be verified again."""
    return now - read_metadata(folder).last_verified > WARN_AFTER


def main() -> None:
    """Check or renew every stage; the exit status is 1 if something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.stage_forms", description="Check the stages' form.")
    parser.add_argument("--write", action="store_true", help="renew the tables in the stages' READMEs")
    if parser.parse_args().write:
        for stage in STAGES:
            readme = FOLDER / stage / "README.md"
            readme.write_text(renewed(readme.read_text(encoding="utf-8"), stage), encoding="utf-8")
    now = datetime.datetime.now(datetime.UTC)
    found = [line for stage in STAGES for line in wrong(stage, FOLDER / stage, now)]
    for line in found:
        print(line, file=sys.stderr)
    if found:
        sys.exit(1)
    for stage in STAGES:
        if due(FOLDER / stage, now):
            print(f"{stage}: last verified nine months ago or more; run its tests, and renew lastVerified soon")


if __name__ == "__main__":
    main()
