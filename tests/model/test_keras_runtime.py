"""How TensorFlow is started."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # TensorFlow starts five times

# Page faults of the process while each of 20 operations takes and leaves 64 MiB.
FAULTS = """
import resource
from deepfake.model import keras_runtime
keras_runtime.start_keras(threads=1)
import tensorflow as tf
values = tf.zeros((4096, 4096))
tf.tanh(values)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    tf.tanh(values)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(**environment: str) -> int:
    """Page faults in a process with these variables."""
    done = subprocess.run(
        [sys.executable, "-c", FAULTS],
        env=os.environ | environment,
        check=True,
        capture_output=True,
        text=True,
    )
    return int(done.stdout)


def test_memory_of_an_operation_is_kept_for_the_next() -> None:
    pages = 20 * (64 << 20) // os.sysconf("SC_PAGE_SIZE")
    assert faults() < pages / 10
    # oneDNN, on by default on some processors, brings an allocator that keeps memory by itself
    without = {"TF_ENABLE_ONEDNN_OPTS": "0"}
    kept = faults(**without)
    assert kept < pages / 10
    assert faults(TF_CPU_ALLOCATOR_USE_BFC="false", **without) > 10 * kept  # what the user sets is left alone


STARTED = """
import os
from deepfake.model import keras_runtime
os.write(2, b"before\\n")
keras_runtime.start_keras()
os.write(2, b"after\\n")
"""


def test_tensorflow_says_nothing_at_its_start_but_what_matters(tmp_path: Path) -> None:
    """With oneDNN on, TensorFlow says so before its logging can be told not to."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "class Complaint:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'tensorflow': os.write(2, b'a complaint\\n')\n"
        "sys.meta_path.insert(0, Complaint())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", STARTED],
        env=os.environ | {"TF_ENABLE_ONEDNN_OPTS": "1", "PYTHONPATH": str(tmp_path)},
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stderr.splitlines() == ["before", "a complaint", "after"]


UNUSED = ("matplotlib", "pandas", "scipy", "sklearn")
LEAN = f"""
import sys
from deepfake.model import keras_runtime
keras = keras_runtime.start_keras()
assert not set({UNUSED}) & set(sys.modules)
import matplotlib.pyplot, pandas, scipy.sparse, sklearn
assert keras.ops.convert_to_numpy(keras.layers.Dense(1)(pandas.DataFrame([[1.0]]).to_numpy())).shape == (1, 1)
"""


def test_keras_takes_along_nothing_that_scoring_does_not_need_and_hides_it_from_nobody() -> None:
    subprocess.run([sys.executable, "-c", LEAN], check=True)
