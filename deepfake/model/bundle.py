"""The model bundle: a folder with the network, what it expects, and where it came from.

``improved_deepfake_model.keras`` opens with plain ``keras.models.load_model``; ``bundle.json`` is the
contract. ``Bundle.load`` verifies both before anything is scored. The network itself is
``deepfake.model.network``.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import re
import reprlib
import zipfile
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Final, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from deepfake.config import ROWS_VERSION, CropConfig, DetectorConfig, SamplingConfig, hash_json
from deepfake.errors import UsageError
from deepfake.io.run_record import require_rows_version
from deepfake.io.storage import Storage
from deepfake.io.temporary import is_disk_full, make_temporary_folder
from deepfake.io.uri import join
from deepfake.model import keras_runtime
from deepfake.model.hub import is_hub
from deepfake.model.network import INPUT_SIZE, check_contract, score_in_batches
from deepfake.model.network_file import METADATA, read_network_file, unpack_network_file
from deepfake.model.openvino_graph import OpenVinoScorer
from deepfake.model.thresholds import Calibration, Decisions, Mixer, OperatingPoint, UncertainBand
from deepfake.model.validation_data import ValidationData

log = logging.getLogger(__name__)

MODEL_FILE: Final = "improved_deepfake_model.keras"
GRAPH_FILE: Final = "network.openvino.zip"
BUNDLE_FILE = "bundle.json"
FORMAT = 1
TRAINED_ELSEWHERE = "train"  # the split that an adopted detector's people are named under
MOST_BYTES = 64 * 2**20  # of bundle.json, which names everybody in the training
# What ``sha256`` covers of bundles that were sealed when it covered only what decides a score (``seal`` 1).
_IDENTITY = (
    "format", "model_sha256", "input", "sampling", "detector", "crop", "rows_version",
    "threshold", "calibration",
)  # fmt: skip
# Keys that came later.
_IDENTITY_WHERE_PRESENT = ("operating_points", "uncertain", "unproven")


class InputContract(BaseModel):
    """What the network takes. Only the size may differ; a bundle with another value elsewhere is refused."""

    model_config = ConfigDict(frozen=True)

    colour: Literal["RGB"] = "RGB"
    dtype: Literal["uint8"] = "uint8"
    minimum: Literal[0] = 0
    maximum: Literal[255] = 255
    size: int = Field(INPUT_SIZE, ge=32, le=1024)  # side of the crops in pixels, as ``crop.size``
    normalised: Literal["inside the network"] = "inside the network"


class BundleInfo(BaseModel):
    """What ``bundle.json`` says."""

    model_config = ConfigDict(frozen=True)

    format: Literal[1] = 1
    sha256: str = ""
    seal: Literal[1, 2] = 1  # 2: the hash covers every key
    # the second of a detector that was adopted from an ONNX file
    model_file: Literal["improved_deepfake_model.keras", "network.openvino.zip"] = MODEL_FILE
    model_sha256: str
    # the network as other runtimes take it: sha256 by the name of its file below ``runtimes/``
    runtimes: dict[str, str] = Field(default_factory=dict)
    input: InputContract = Field(default_factory=InputContract)
    # how the training crops were made; None where that is not known
    sampling: SamplingConfig | None = None
    detector: DetectorConfig | None = None  # its name resolved
    crop: CropConfig | None = None
    rows_version: int = ROWS_VERSION  # of the crops that it was trained with
    crops_config_sha256: str | None = None
    threshold: float = Field(ge=0.0, le=1.0)  # scores at or above it are called fake; chosen on validation
    threshold_rule: str = ""
    # what a video is judged by, each by the way of aggregating: mean, median, max, top_k, frame_max
    operating_points: dict[str, tuple[OperatingPoint, ...]] = Field(default_factory=dict)
    uncertain: dict[str, UncertainBand] = Field(default_factory=dict)
    calibration: dict[str, Calibration] | None = None
    # why validation shows no more than guessing, so that there is no verdict; "": it shows more; None: not
    # recorded, see ``verdicts.explain_unproven``
    unproven: str | None = None
    validated_on: ValidationData | None = None  # the videos of all that; None: not recorded
    training: dict[str, Any] = Field(default_factory=dict)
    # what its maker says of it, as ``ForeignConfig`` has it, and its file; None: trained here
    adopted: dict[str, Any] | None = None
    metrics: dict[str, Any] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)

    @property
    def backbone(self) -> str:
        """The network before the head, as ``model.backbone`` names it; earlier versions knew only one."""
        config = self.training.get("config")
        model = config.get("model") if isinstance(config, Mapping) else None
        return (
            str(model.get("backbone", "efficientnetb0")) if isinstance(model, Mapping) else "efficientnetb0"
        )

    def look_up_decisions(self, aggregation: str) -> Decisions:
        """What validation chose for videos whose score is aggregated so; nothing where it chose none."""
        return Decisions(
            operating_points=self.operating_points.get(aggregation, ()),
            uncertain=self.uncertain.get(aggregation),
            calibration=(self.calibration or {}).get(aggregation),
        )

    def read_identities(self) -> dict[str, frozenset[str]] | None:
        """Whom it was trained and chosen on, by split; None where that is not recorded."""
        recorded = self.training.get("identities")
        if not isinstance(recorded, Mapping):
            return None
        return {str(split): frozenset(map(str, names)) for split, names in recorded.items()}

    @property
    def names_trained_people(self) -> bool:
        """Whether it is recorded whom the network was trained on, not only whom it was calibrated on."""
        identities = self.read_identities() or {}
        return bool(identities) and (self.adopted is None or TRAINED_ELSEWHERE in identities)

    def compute_identity(self) -> str:
        """Hash of everything that decides a score: the whole of a seal of 1."""
        dumped = self.model_dump(mode="json")
        keys = [*_IDENTITY, *(key for key in _IDENTITY_WHERE_PRESENT if dumped[key])]
        return hash_json({key: dumped[key] for key in keys})


class Bundle:
    """A verified bundle. Light until the first ``score``, which starts TensorFlow."""

    members: tuple[Bundle, ...] = ()  # of an ensemble

    def __init__(
        self, info: BundleInfo, network_file: bytes, uri: str, batch_size: int = 32, megabytes: int = 2048
    ) -> None:
        """``megabytes``: the network is refused where it has more (MiB) once it is unpacked."""
        self.info = info
        self.uri = uri
        self.batch_size = batch_size
        self.network_file = network_file
        self._megabytes = megabytes

    def __reduce__(self) -> tuple[Any, ...]:
        return (Bundle, (self.info, self.network_file, self.uri, self.batch_size, self._megabytes))

    @classmethod
    def load(cls, uri: str, storage: Storage | None = None, batch_size: int = 32) -> Bundle:
        """Read and verify a bundle; raises ``UsageError`` that names the folder and what to do."""
        storage = storage or Storage()
        info = read_bundle_info(uri, storage)
        megabytes = storage.config.max_network_mb
        try:
            network_file = read_network_file(join(uri, info.model_file), storage)
        except FileNotFoundError:
            raise UsageError(f"{join(uri, info.model_file)}: missing; copy the whole bundle folder") from None
        found = hashlib.sha256(network_file).hexdigest()
        if found != info.model_sha256:
            raise UsageError(
                f"{join(uri, info.model_file)}: sha256 is {found}, {BUNDLE_FILE} says {info.model_sha256}; "
                "the file was changed or damaged: copy the bundle again, or train it again"
            )
        if known := info.training.get("faults"):
            words = "%s: trained with known mistakes on purpose (%s); its scores are for comparison only"
            log.warning(words, uri, ", ".join(known))
        return cls(info, network_file, uri, batch_size, megabytes)

    @classmethod
    def around(cls, network: Any, model_sha256: str, uri: str, batch_size: int = 32) -> Self:
        """A network that was just made, before there is a bundle of it."""
        taken = InputContract(size=network.inputs[0].shape[1])
        made = cls(BundleInfo(model_sha256=model_sha256, input=taken, threshold=0.5), b"", uri, batch_size)
        made.network = network
        return made

    @property
    def sha256(self) -> str:
        """Identity of everything in it."""
        return self.info.sha256

    @property
    def crop_size(self) -> int:
        """Side in pixels of the crops that its network takes."""
        return self.info.input.size

    def require_size(self, size: int, where: str) -> None:
        """Raise ``UsageError`` where crops, so many pixels wide, are not as its network takes them."""
        if size != self.crop_size:
            raise UsageError(
                f"{where}: crops are {size} pixels wide, the network of {self.uri} takes {self.crop_size}; "
                f"run jobs/preprocess.py with --crop.size {self.crop_size}"
            )

    @property
    def mixer(self) -> Mixer:
        """How scores of its networks become one."""
        return Mixer()

    @property
    def is_graph(self) -> bool:
        """Whether its network is a graph of OpenVINO, which Keras does not know."""
        return self.info.model_file == GRAPH_FILE

    @property
    def has_heat_maps(self) -> bool:
        """Whether it can be told where in a crop the network looks: not where it has tokens or is foreign."""
        return self.info.adopted is None and not is_hub(self.info.backbone)

    def find_operating_point(self, name: str, aggregation: str = "mean") -> OperatingPoint:
        """A threshold by its name, such as ``fpr_0.01``; raises ``UsageError`` that lists what there is."""
        found = {point.name: point for point in self.info.look_up_decisions(aggregation).operating_points}
        if name not in found:
            there = ", ".join(found) or "none; train the bundle again with this version"
            raise UsageError(
                f"{self.uri}: no operating point {name!r} for aggregation {aggregation}; there are: {there}"
            )
        return found[name]

    @cached_property
    def network(self) -> Any:
        """The ``keras.Model``, loaded in safe mode: nothing in the file can run code."""
        where = join(self.uri, self.info.model_file)
        if self.is_graph:
            raise UsageError(
                f"{where}: was adopted from an ONNX file and is no network of Keras; it scores on CPUs, by "
                "OpenVINO, and cannot be exported, trained on or looked into"
            )
        made_by = self.info.versions.get("keras", "")
        network = load_keras_network(
            self.network_file,
            where,
            self._megabytes,
            "use a bundle of jobs/train.py",
            made_by,
            is_hub(self.info.backbone),
        )
        check_contract(network, self.crop_size, where)
        return network

    @cached_property
    def _graph(self) -> OpenVinoScorer:
        return OpenVinoScorer(self.network_file, self.crop_size)

    @cached_property
    def _forward(self) -> Any:
        return self.make_concrete_function(self.batch_size)

    def make_concrete_function(self, batch: int | None) -> Any:
        """The network as a ``tf.function`` of ``batch`` crops (None: of any number)."""
        import tensorflow as tf

        network, size = self.network, self.crop_size
        return tf.function(
            lambda crops: network(crops, training=False),
            input_signature=[tf.TensorSpec([batch, size, size, 3], tf.uint8, name="crop")],
            autograph=False,
        ).get_concrete_function()

    def score(self, crops: np.ndarray) -> np.ndarray:
        """Scores ``(n,) float64`` in [0, 1], 1 for fake, of crops ``(n, size, size, 3) uint8 RGB``.

        Every batch has the one compiled shape (the last is padded and cut), so a crop's score does not
        depend on what else was scored with it. Any other input type or shape raises ``UsageError``.
        """
        if self.is_graph:
            return self._graph.score(crops)
        import tensorflow as tf

        return score_in_batches(
            crops,
            self.crop_size,
            self.batch_size,
            lambda batch: self._forward(tf.constant(batch)).numpy(),
        )


def load_keras_network(
    data: bytes, where: str, megabytes: int, remedy: str, made_by: str = "", with_hub: bool = False
) -> Any:
    """The ``keras.Model`` of a ``.keras`` file's content, in safe mode: nothing in the file can run code.

    Raises ``UsageError`` with the ``remedy`` where it is none, carries code or has more than ``megabytes``
    (MiB) unpacked. ``made_by``: the version of Keras that saved it, where that is known. ``with_hub``:
    whether a backbone of KerasHub may be in it.
    """
    keras = keras_runtime.start_keras()
    keras_runtime.require_float32()  # a score is the same on every kind of machine
    with make_temporary_folder() as folder:
        path = folder / MODEL_FILE
        try:
            members = unpack_network_file(data, where, megabytes, with_hub)
            with zipfile.ZipFile(path, "w") as archive:  # Keras sees what was looked through, and no more
                for name, content in members.items():
                    archive.writestr(name, content)
            del members
            return keras.models.load_model(path, compile=False, safe_mode=True)
        except UsageError:
            raise
        except Exception as error:  # a hostile file makes Keras raise anything
            if is_disk_full(error):
                raise
            if _read_release(made_by) > _read_release(keras.__version__):
                raise UsageError(
                    f"{where}: saved by Keras {made_by}, this is Keras "
                    f"{keras.__version__}, which cannot read it; install keras>={made_by}"
                ) from error
            words = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
            raise UsageError(
                f"{where}: not a network that loads in safe mode, in which a file may carry no code "
                f"({words}); {remedy}"
            ) from error


def _read_release(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)[:2]]


def read_bundle_info(uri: str, storage: Storage) -> BundleInfo:
    """``bundle.json`` of a bundle, verified as far as that is possible without reading the network."""
    path = join(uri, BUNDLE_FILE)
    try:
        text = storage.read_at_most(path, MOST_BYTES).decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        what = "holds no " + BUNDLE_FILE if storage.exists(uri) else "does not exist"
        raise UsageError(
            f"{uri}: not a model bundle, {what}; give the folder that jobs/train.py or jobs/adopt.py wrote"
        ) from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: is not in UTF-8; copy the bundle again") from None
    try:
        raw = json.loads(text)
        if raw.get("format") != FORMAT:
            raise UsageError(f"{path}: bundle format {raw.get('format')!r}, this version reads {FORMAT}")
        require_rows_version(raw, path, "train it again on crops of this version")
        info = BundleInfo.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise UsageError(
            f"{path}: {key} is {reprlib.repr(first['input'])}: {first['msg']}; the bundle does not fit this "
            "version"
        ) from None
    except UsageError:
        raise
    except (ValueError, AttributeError, RecursionError) as error:
        raise UsageError(f"{path}: not valid JSON ({error}); copy the bundle again") from None
    if info.sha256 != (_hash_all(raw) if info.seal == 2 else info.compute_identity()):
        raise UsageError(
            f"{path}: sha256 does not fit its content, so it was changed by hand; copy the bundle again, "
            "or train it again"
        )
    return info


def seal(info: BundleInfo) -> BundleInfo:
    """The same with its identity hash, as it will be read."""
    text = info.model_copy(update={"seal": 2}).model_dump_json()
    return BundleInfo.model_validate_json(text).model_copy(update={"sha256": _hash_all(json.loads(text))})


def _hash_all(raw: dict[str, Any]) -> str:
    """Of ``bundle.json`` as it is written, so that keys which come later change no hash of before."""
    return hash_json({key: value for key, value in raw.items() if key != "sha256"})


def write_bundle(uri: str, storage: Storage, info: BundleInfo) -> BundleInfo:
    """Write ``bundle.json``, sealed with its identity hash. Comes last: without it a folder is no bundle."""
    sealed = seal(info)
    storage.write_text(join(uri, BUNDLE_FILE), sealed.model_dump_json(indent=2) + "\n")
    return sealed


def serialise_network(network: Any) -> bytes:
    """A network as the content of a ``.keras`` file, the same for the same network: it holds no dates."""
    content = io.BytesIO()
    with make_temporary_folder() as folder:
        path = folder / MODEL_FILE
        network.save(path)
        with zipfile.ZipFile(path) as saved, zipfile.ZipFile(content, "w") as kept:
            for name in saved.namelist():
                part = saved.read(name)
                if name == METADATA:
                    made = json.loads(part)
                    part = json.dumps({key: made[key] for key in made if key != "date_saved"}).encode()
                kept.writestr(zipfile.ZipInfo(name), part)  # of 1980
    return content.getvalue()
