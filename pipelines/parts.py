"""A pipeline with parts left out when it is compiled.

KFP decides what a pipeline has from the signature of its function; a part's parameters must not stand in the form of a
package that has no such part.
"""

import inspect
from collections.abc import Callable, Collection
from typing import Any


def without(arrange: Callable[..., None], left_out: Collection[str]) -> Callable[..., None]:
    """Return ``arrange`` without some of its parameters, each of which it is called with as None.

    >>> def study(data, rankers):
    ...     return data, rankers
    >>> inspect.signature(without(study, ["rankers"]))
    <Signature (data)>
    >>> without(study, ["rankers"])("ml-1m")
    ('ml-1m', None)
    """
    signature = inspect.signature(arrange)
    kept = [parameter for name, parameter in signature.parameters.items() if name not in left_out]

    def arranged(*values: Any) -> Any:
        names = (parameter.name for parameter in kept)
        return arrange(**dict.fromkeys(left_out), **dict(zip(names, values, strict=True)))

    arranged.__doc__ = arrange.__doc__
    arranged.__signature__ = signature.replace(parameters=kept)  # type: ignore[attr-defined] # which inspect reads
    return arranged
