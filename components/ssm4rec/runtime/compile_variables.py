"""What a compilation is told by variables of the environment, and what each may be.

``make compile REGISTRY=…`` sets ``SSM4REC_REGISTRY``, and so on. Importing a module must not fail, so that ``value`` is
the default of what is not allowed; every program that compiles calls :func:`check_compile_variables` before it writes.
"""

import os
import re
from dataclasses import dataclass
from typing import Final

from ssm4rec.runtime.errors import InputError

_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_HOST: Final = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-f:]+\])(?::[0-9]{{1,5}})?"
_PART: Final = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_FIRST_PART: Final = r"[a-z0-9]+(?:(?:_|__|-+)[a-z0-9]+)*"
"""Of a path without a host: with a dot in it the first part is read as a host."""


@dataclass(frozen=True)
class CompileVariable:
    """A variable; ``pattern`` is what it may be, ``allowed`` says so."""

    name: str
    pattern: str
    allowed: str
    default: str = ""

    @property
    def given(self) -> str:
        """What the environment says, "" for nothing."""
        return os.environ.get(self.name, "")

    @property
    def value(self) -> str:
        """What was chosen, if it is allowed, else the default."""
        return self.given if re.fullmatch(self.pattern, self.given) else self.default

    def check(self) -> None:
        """Raise InputError if what the environment says is not allowed."""
        if self.given and not re.fullmatch(self.pattern, self.given):
            make = self.name.removeprefix("SSM4REC_")
            raise InputError(f"{self.name} (make: {make}=) {self.given!r}: {self.allowed}")


REGISTRY: Final = CompileVariable(
    "SSM4REC_REGISTRY",
    rf"(?=.{{1,200}}$)(?:{_HOST}|{_FIRST_PART})(?:/{_PART})*/?",
    "write host[:port]/path in lower case, without scheme and tag, such as registry.example.org/team",
)
"""Where the images are pulled from: the name of an image without its last part (distribution/reference, grammar)."""

ACCELERATOR: Final = CompileVariable("SSM4REC_ACCELERATOR", "cuda|cpu", "write cuda or cpu", "cuda")
"""What trains; with ``cpu``, for a cluster or an engine without GPUs, the CPU image does."""

VOLUME: Final = CompileVariable(
    "SSM4REC_VOLUME",
    rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*",
    "write the name of a PersistentVolumeClaim: small letters, digits, '-' and '.', such as ssm4rec-cache",
)
"""Mounted in every stage; a DNS-1123 subdomain, as Kubernetes names claims."""

AT_ONCE: Final = CompileVariable("SSM4REC_AT_ONCE", "[1-9][0-9]{0,3}", "write a whole number from 1 to 9999", "8")
"""How many entries of a loop run at a time."""

NODES: Final = CompileVariable("SSM4REC_NODES", "[1-9][0-9]{0,2}", "write a whole number from 1 to 999", "1")
"""How many nodes each training gets."""

COMPILE_VARIABLES: Final = (REGISTRY, ACCELERATOR, VOLUME, AT_ONCE, NODES)


def check_compile_variables() -> None:
    """Raise InputError for the first variable that is not allowed, or needs another one."""
    for variable in COMPILE_VARIABLES:
        variable.check()
    if NODES.value != NODES.default and not VOLUME.value:
        raise InputError(
            f"{NODES.name} (make: NODES=) {NODES.value!r}: the nodes of a training share a volume; name its claim with "
            f"{VOLUME.name} (make: VOLUME=), such as ssm4rec-cache"
        )
