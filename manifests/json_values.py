"""Values as JSON can hold them: Python's own `json` writes `NaN` and `Infinity`, which no other reader takes."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from typing import Any


def json_value(value: Any) -> Any:
    """The value with null for a number that is not finite, base64 for bytes, and text for the keys of mappings.

    Values of other types that JSON lacks (dates) stay as they are. Raises RecursionError where it is nested too deep.
    """
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Mapping):
        return {str(key): json_value(each) for key, each in value.items()}
    return [json_value(each) for each in value] if isinstance(value, list | tuple) else value
