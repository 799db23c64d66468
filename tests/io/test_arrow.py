"""Arrow without pandas: it is not looked for, and it is there for whoever needs it later."""

from __future__ import annotations

import subprocess
import sys

LATER = """
import sys
from deepfake.io.arrow import start_arrow
start_arrow()
import pyarrow as pa
table = pa.table({"number": pa.array([1.0, None])})
assert "pandas" not in sys.modules
frame = table.to_pandas()
import pandas
assert isinstance(frame, pandas.DataFrame) and pa.Table.from_pandas(frame).equals(table)
assert pa.array(pandas.Series([1.0, float("nan")])).to_pylist() == [1.0, None]
start_arrow()
"""


def test_arrow_starts_without_pandas_and_converts_to_it_later() -> None:
    subprocess.run([sys.executable, "-c", LATER], check=True)
