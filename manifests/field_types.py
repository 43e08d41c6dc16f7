"""Check that a value can be stored in a record's field and read back unchanged."""

from __future__ import annotations

import typing
from dataclasses import is_dataclass
from typing import Any

from manifests.schema import SCALARS, hints


def type_mismatch(hint: Any, value: Any, name: str = "") -> str | None:
    """Return why `value` cannot be stored as type `hint` and read back unchanged; None if it can.

    Without this check Arrow would truncate 3.5 to 3, and store a record of another type as a row of nulls.
    """
    if is_dataclass(hint):
        if type(value) is not hint:
            return f"{name or 'it'} is a {type(value).__name__}"
        inner = hints(typing.cast(type, hint)).items()
        return next(filter(None, (type_mismatch(of, getattr(value, field), field) for field, of in inner)), None)
    if hint in SCALARS:
        return None if _fits(hint, value) else f"{name} is {value!r:.80}, not {hint.__name__}"
    (of,) = (argument for argument in typing.get_args(hint) if argument not in (type(None), Ellipsis))
    if typing.get_origin(hint) is not tuple:
        return None if value is None else type_mismatch(of, value, name)
    if not isinstance(value, tuple):
        return f"{name} is a {type(value).__name__}, not a tuple"
    return next(filter(None, (type_mismatch(of, item, f"{name}[{n}]") for n, item in enumerate(value))), None)


def _fits(scalar: type, value: Any) -> bool:
    if scalar is str and isinstance(value, str):
        return not any("\ud800" <= letter <= "\udfff" for letter in value) if not value.isascii() else True
    if scalar is int:
        return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63
    if scalar is float and isinstance(value, int) and not isinstance(value, bool):
        return abs(value) <= 2**53
    return isinstance(value, scalar)
