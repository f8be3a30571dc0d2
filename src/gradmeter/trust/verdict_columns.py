"""The columns of a table of verdicts."""

from __future__ import annotations

import pyarrow as pa

VERDICT_COLUMNS: dict[str, pa.DataType] = {
    "prediction": pa.int64(),
    "probability": pa.float64(),
    "p_known": pa.float64(),
    "p_correct_if_known": pa.float64(),
    "p_correct": pa.float64(),
    "accepted": pa.bool_(),
    "reason": pa.string(),
}
"""Columns of `TrustModel.verdicts`."""
