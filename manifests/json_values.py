"""Convert values to valid JSON: Python's `json` writes `NaN` and `Infinity`, which other readers reject."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from typing import Any


def json_value(value: Any) -> Any:
    """Return the value with null for numbers that are not finite, base64 for bytes, and text for mapping keys.

    Values of other types that JSON lacks (dates) stay unchanged. Raises RecursionError if the nesting is too deep.
    """
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Mapping):
        return {str(key): json_value(each) for key, each in value.items()}
    return [json_value(each) for each in value] if isinstance(value, list | tuple) else value
