"""TensorFlow and Keras 3, started the one way this project uses them.

Nothing here knows of models or of Ray. Keras is imported through ``start_keras``, which sets the environment.
"""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import ModuleType

from deepfake.imports import hide_modules, import_for_good
from deepfake.progress import hide_lines

log = logging.getLogger(__name__)

# What TensorFlow says at its first import, some of it before its logging is set up and so whatever
# ``TF_CPP_MIN_LOG_LEVEL`` is.
_GREETINGS = (b"All log messages before absl::InitializeLog()", b"oneDNN custom operations are on")


def start_keras(
    threads: int | None = None,
    seed: int | None = None,
    deterministic: bool = False,
    precision: str | None = None,
    gpus: bool = True,
) -> ModuleType:
    """The ``keras`` module on TensorFlow.

    ``threads`` bounds TensorFlow's own thread pools; it takes effect only before the first operation of a
    process. ``precision`` is the name of a Keras dtype policy. GPU memory is taken as it is needed, so that
    several workers can share a device; without ``gpus`` this process takes none, which likewise holds only
    before its first operation.
    """
    # ray.train.tensorflow sets this where something has used it; it would swap Keras 3 for tf_keras.
    os.environ.pop("TF_USE_LEGACY_KERAS", None)
    os.environ["KERAS_BACKEND"] = "tensorflow"
    _keep_memory()
    silence_tensorflow()
    first = "tensorflow" not in sys.modules
    with hide_lines(*_GREETINGS) if first else nullcontext(), _import_lean():
        import keras
        import tensorflow as tf

    try:
        if threads is not None:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(threads)
        for device in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(device, True)
        if not gpus:
            tf.config.set_visible_devices([], "GPU")
    except RuntimeError as error:  # TensorFlow already runs in this process
        log.debug("TensorFlow keeps its threads and memory settings: %s", error)
    if deterministic:
        tf.config.experimental.enable_op_determinism()
    if precision is not None:
        keras.mixed_precision.set_global_policy(precision)
    if seed is not None:
        keras.utils.set_random_seed(seed)
    return keras


def _keep_memory() -> None:
    """Let TensorFlow keep host memory from one operation to the next. Call it before the first.

    Otherwise large activations are mapped anew and given back at each operation, and a third of a step's time
    on CPUs is the kernel's, zeroing pages (docs/benchmark.md). Where TensorFlow has oneDNN on, as on
    processors with AVX-512 VNNI, oneDNN's allocator keeps memory anyway, and this changes nothing. The bound,
    64 GiB where none is set, is the machine's memory here. TensorFlow's ``common_runtime/process_state.cc``
    reads both variables.
    """
    os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "true")
    mebibytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
    os.environ.setdefault("TF_CPU_BFC_MEM_LIMIT_IN_MB", str(mebibytes))


def require_float32() -> None:
    """Let this process' GPUs multiply float32 as such: TensorFlow otherwise rounds factors to TF32's 10 bits.

    https://www.tensorflow.org/api_docs/python/tf/config/experimental/enable_tensor_float_32_execution
    """
    import tensorflow as tf

    tf.config.experimental.enable_tensor_float_32_execution(False)


@contextmanager
def exact_float32() -> Iterator[None]:
    """Within the block float32 is multiplied as ``require_float32`` has it, which is how bundles score."""
    import tensorflow as tf

    before = tf.config.experimental.tensor_float_32_execution_enabled()
    require_float32()
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


def silence_tensorflow() -> None:
    """Let TensorFlow speak of errors only. For its C++ part this must come before its first import."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)


@contextmanager
def _import_lean() -> Iterator[None]:
    """Keep out, at its first import, what Keras takes along where it is installed and nothing here uses.

    That is half of the import's time: wrappers for scikit-learn, galleries of pictures with Matplotlib, what
    takes batches of pandas or of SciPy. Keras does without them where they are missing. Nobody else may miss
    a module meanwhile: what is there already is left alone, and where Ray runs, whose threads import when
    they like, all that Ray Data, Ray Train or PyArrow may ask for.
    """
    if "keras" in sys.modules:
        yield
        return
    ray = sys.modules.get("ray")
    extras = ["matplotlib", "sklearn"]
    if ray is None or not ray.is_initialized():
        extras += ["pandas", "scipy"]
    with import_for_good(), hide_modules(*(name for name in extras if name not in sys.modules)):
        yield


def list_versions() -> dict[str, str]:
    """Versions of the libraries that decide a score, without importing the heavy ones."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    scoring = ("deepfake", "keras", "tensorflow", "tensorflow-cpu", "openvino")
    for package in (*scoring, "numpy", "av", "opencv-python-headless", "ray"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
