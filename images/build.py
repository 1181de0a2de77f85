"""Builds the images and tags them: ``python images/build.py --help`` (``make images``).

Each gets two tags, ``NAME:VERSION``, which pipelines on this machine name, and ``NAME:VERSION-COMMIT``, which stays and
is what pipelines for a registry name (``ssm4rec/runtime/images.py``). ``images/machine`` has what a build needs of this
machine.
"""

import argparse
import collections
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Final

from ssm4rec import __version__
from ssm4rec.runtime.compile_variables import check_compile_variables
from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.images import ROLES, image, repository, revision
from ssm4rec.settings.command_line import StageParser, run_stage

ROOT: Final = Path(__file__).resolve().parents[1]
PROXIES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
"""Docker hands these to a build's commands and keeps them out of the image and its history."""


def build_parser() -> StageParser:
    """Return the command line."""
    parser = StageParser("images.build", "Build the images.")
    parser.add_argument("--only", default=",".join(ROLES), help="roles to build; llm stands on train")
    parser.add_argument("--base-image", default="", help="what cpu and serve stand on; empty: a slim Python")
    parser.add_argument("--torch-index", default="", help="package index with CPU builds of torch, for cpu and serve")
    parser.add_argument("--build-arg", default=[], action="append", help="further NAME=VALUE for docker build")
    parser.add_argument("--network", default="default", help="of the build: host, where the engine has no other")
    parser.add_argument("--source", default="unknown", help="address of the repository, for the images' label")
    parser.add_argument(
        "--resolve-bases",
        action="store_true",
        help="ask the registry for the digests of the base images, build on those and record them in labels",
    )
    parser.add_argument("--push", action="store_true", help="push both tags of each image when all are built")
    return parser


def run(options: argparse.Namespace) -> None:
    """Build, say how large each image is, and push."""
    check_compile_variables()
    wanted = options.only.split(",")
    if unknown := sorted(set(wanted) - set(ROLES)):
        raise InputError(f"--only {','.join(unknown)}: unknown; choose from {', '.join(ROLES)}")
    docker("info")  # an engine that does not answer shows now
    commit = revision()
    tags = []
    for role in [role for role in ROLES if role in wanted]:
        version, kept = (f"{repository(role)}:{tag}" for tag in (__version__, f"{__version__}-{commit}"))
        arguments = [f"VERSION={__version__}", f"REVISION={commit}", f"SOURCE={options.source}"]
        bases = base_arguments(role, options.base_image, options.torch_index)
        flags = [f"--network={options.network}", f"--tag={version}", f"--tag={kept}"]
        if options.resolve_bases and role != "llm":  # that stands on train, which has just been built
            resolved = resolve_bases(role, bases)
            bases |= resolved
            name, _, digest = resolved["BASE_IMAGE"].partition("@")
            flags += [f"--label=org.opencontainers.image.base.{key}" for key in (f"name={name}", f"digest={digest}")]
        arguments += [f"{name}={value}" for name, value in bases.items()]
        if unhashed := without_published_hash(role, options.torch_index):
            hashes = "serve/requirements.hashes.txt" if role == "serve" else "constraints.hashes.txt"
            print(f"{role}: NOT checked against images/{hashes}: {', '.join(unhashed)}", flush=True)
            arguments.append(f"UNHASHED={' '.join(unhashed)}")
        arguments += [name for name in PROXIES if name in os.environ]
        arguments += options.build_arg
        build(f"images/{role}/Dockerfile", [*flags, *(f"--build-arg={argument}" for argument in arguments)])
        tags += [version, kept]
    for tag in tags:
        print(f"{tag}  {int(docker('image', 'inspect', '--format', '{{.Size}}', tag)) / 1e9:.2f} GB")
    for tag in tags if options.push else ():
        docker("push", tag)
        print(f"pushed {tag}")


def base_arguments(role: str, base_image: str, torch_index: str) -> dict[str, str]:
    """Return the build arguments that say what a role's image stands on; the rest is in its Dockerfile."""
    slim = {"BASE_IMAGE": base_image, "TORCH_INDEX": torch_index}
    given = {"cpu": slim, "serve": slim, "llm": {"BASE_IMAGE": image("train")}}
    return {name: value for name, value in given.get(role, {}).items() if value}


def without_published_hash(role: str, torch_index: str) -> list[str]:
    """Return the packages whose files no list of hashes can know: wheels of this machine, torch for CPUs."""
    local = {
        wheel.name.partition("-")[0].replace("_", "-").lower() for wheel in ROOT.glob("images/machine/wheels/*.whl")
    }
    return sorted(local | ({"torch"} if role in ("cpu", "serve") and torch_index else set()))


def resolve_bases(role: str, given: dict[str, str]) -> dict[str, str]:
    """Return a role's base images, those given or else its Dockerfile's, with their digests: NAME:TAG@sha256:DIGEST.

    Raise InputError if the registry does not answer, or has no such tag.
    """
    text = (ROOT / "images" / role / "Dockerfile").read_text()
    bases = {}
    for name, default in re.findall(r"(?m)^ARG ((?:BASE|CUDA)_IMAGE)=(\S+)$", text):
        bases[name] = given.get(name, default)
        if "@" not in bases[name]:
            found = docker("buildx", "imagetools", "inspect", "--format", "{{json .Manifest}}", bases[name])
            bases[name] += f"@{json.loads(found)['digest']}"
        print(f"{role}: {name}={bases[name]}", flush=True)
    return bases


def build(file: str, flags: list[str]) -> None:
    """Run ``docker build``, showing its output; raise InputError with its last lines if it failed."""
    last: collections.deque[str] = collections.deque(maxlen=3)
    with subprocess.Popen(
        ["docker", "build", f"--file={file}", *flags, "."],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            last.extend([line.strip()] if line.strip() else [])
    if process.returncode:
        raise InputError(f"{file} does not build: {' | '.join(last)}")


def docker(*arguments: str) -> str:
    """Run a short docker command and return what it printed; raise InputError if there is no docker, or it failed."""
    try:
        done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise InputError("there is no docker command on this machine; install Docker's client") from None
    if done.returncode:
        raise InputError(f"docker {arguments[0]}: {' '.join(done.stderr.split()) or 'failed'}")
    return done.stdout.strip()


def main() -> None:
    """Build from the command line."""
    run_stage(build_parser(), run)


if __name__ == "__main__":
    main()
