"""Where training starts: random weights, a backbone's, or a whole detector that one has, head included."""

from typing import Any

from deepfake.config import FaultsConfig, ModelConfig, hash_json
from deepfake.errors import UsageError
from deepfake.io.checksums import hash_file
from deepfake.io.storage import Storage
from deepfake.io.uri import join
from deepfake.model import hub, hub_preset
from deepfake.model.bundle import BUNDLE_FILE, Bundle, BundleInfo, read_bundle_info
from deepfake.model.network import INPUT_SIZE, NO_FILE, WEIGHTS_SUFFIX, build_network


def read_starting_bundle(config: ModelConfig, storage: Storage, size: int = INPUT_SIZE) -> BundleInfo | None:
    """``bundle.json`` of the bundle that ``model.weights`` names; None where it names something else.

    Raises ``UsageError`` where it is none, or is of another network than the other keys say, or of crops of
    another ``size``.
    """
    if not _names_bundle(config, storage):
        return None
    try:
        info = read_bundle_info(config.weights, storage)
    except UsageError as error:
        raise UsageError(
            f"model.weights {config.weights}: expected imagenet, none, a backbone's file *{WEIGHTS_SUFFIX}, "
            f"or the folder of a bundle ({error})"
        ) from None
    if info.adopted is not None:
        raise UsageError(f"model.weights {config.weights}: was made elsewhere, not trained here")
    if info.input.size != size:
        raise UsageError(
            f"model.weights {config.weights}: takes crops of {info.input.size} pixels, these have {size}; "
            f"run jobs/preprocess.py with --crop.size {info.input.size}"
        )
    built = info.training.get("config", {}).get("model", {})
    for key, value in config.model_dump(mode="json").items():
        if key in ("backbone", "head", "dense_units", "input_mode") and built.get(key, value) != value:
            raise UsageError(
                f"model.weights {config.weights}: its model.{key} is {built[key]}, here it is {value}; give "
                f"--model.{key} {built[key]}"
            )
    return info


def hash_weights(config: ModelConfig, storage: Storage) -> str:
    """Hash of what ``model.weights`` holds: a file, a preset's folder or a bundle; "" for none of these."""
    if config.weights in NO_FILE:
        return ""
    if _names_bundle(config, storage):
        return read_bundle_info(config.weights, storage).sha256
    uris = [config.weights]
    if not config.weights.endswith(WEIGHTS_SUFFIX):
        names = [hub_preset.CONFIG, hub_preset.CONVERTER]
        names += hub_preset.list_weight_files(config.weights, storage)
        uris = [join(config.weights, name) for name in names]
    hashes = []
    for uri in uris:
        with storage.open(uri) as file:
            hashes.append(hash_file(file))
    return hash_json(hashes)


def _names_bundle(config: ModelConfig, storage: Storage) -> bool:
    """Whether ``model.weights`` is a bundle, or meant to be one: a folder, and no preset of KerasHub."""
    if config.weights in NO_FILE or config.weights.endswith(WEIGHTS_SUFFIX):
        return False
    return not hub.is_hub(config.backbone) or storage.exists(join(config.weights, BUNDLE_FILE))


def build_starting_network(
    config: ModelConfig, storage: Storage, faults: FaultsConfig | None = None, size: int = INPUT_SIZE
) -> Any:
    """A new network as ``build_network`` makes it, with the weights that ``model.weights`` names."""
    if not _names_bundle(config, storage):
        return build_network(config, storage, faults, size=size)
    start = Bundle.load(config.weights, storage).network
    random = config.model_copy(update={"weights": "none"})
    network = build_network(random, storage, faults, like=start, size=size)
    trained = {layer.name: layer.get_weights() for layer in start.layers}
    for layer in network.layers:
        arrays, needed = trained.get(layer.name, []), [tuple(weight.shape) for weight in layer.weights]
        if [array.shape for array in arrays] != needed:
            raise UsageError(
                f"model.weights {config.weights}: its layer {layer.name} does not fit; the keys of model "
                "must be those it was trained with"
            )
        layer.set_weights(arrays)
    return network
