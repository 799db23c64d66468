"""Presets of KerasHub's families, saved as their makers' are, with a few thousand random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deepfake.model import hub, keras_runtime

FAMILIES = tuple(hub.FAMILIES)
SCALE, OFFSET = [1 / 64, 1 / 60, 1 / 62], [-2.0, -1.9, -1.8]  # each colour's own, so that their order matters


def save_preset(folder: Path, family: str, width: int = 16) -> str:
    """Write a preset of the family below ``folder``; its path. CLIP's and SigLIP's have a text half, too."""
    models, keras = hub.require_hub("a test").models, keras_runtime.start_keras(seed=1)
    place = folder / family
    size = {"num_layers": 2, "hidden_dim": width, "num_heads": 2}
    vision: dict[str, Any] = {**size, "patch_size": 56, "intermediate_dim": 32}
    text = {**size, "vocabulary_size": 9, "intermediate_dim": 32}
    if family == "clip":
        made = models.CLIPBackbone(
            models.CLIPVisionEncoder(**vision, image_shape=(224, 224, 3), name="vision_encoder"),
            models.CLIPTextEncoder(
                **text, embedding_dim=16, max_sequence_length=4, name="text_encoder",
                intermediate_activation="quick_gelu",
            ),
            projection_dim=8,
        )  # fmt: skip
    elif family.startswith("siglip"):
        made = models.SigLIPBackbone(
            models.SigLIPVisionEncoder(
                **{**vision, "patch_size": 64}, image_shape=(256, 256, 3), name="vision_encoder"
            ),
            models.SigLIPTextEncoder(
                **text, embedding_dim=16, max_sequence_length=4, projection_dim=16, name="text_encoder"
            ),
        )
    elif family == "dinov2":
        made = models.DINOV2Backbone(
            **vision, image_shape=(280, 280, 3), position_embedding_shape=(280, 280, 3), num_register_tokens=1
        )
    elif family == "dinov3":
        made = models.DINOV3Backbone(**vision, image_shape=(280, 280, 3), num_register_tokens=1)
    else:
        made = models.ViTBackbone(**size, patch_size=56, mlp_dim=32, image_shape=(224, 224, 3))
    for layer in made._flatten_layers():  # as drawn, they hardly pass on what they are told
        if isinstance(layer, keras.layers.Embedding | keras.layers.Conv2D):
            layer.set_weights(
                [keras.random.normal(w.shape, 0.0, 0.1) if w.ndim > 1 else w for w in layer.get_weights()]
            )
    made.save_to_preset(str(place))
    converter = getattr(hub.require_hub("a test").layers, {
        "clip": "CLIPImageConverter", "dinov2": "DINOV2ImageConverter", "dinov3": "DINOV3ImageConverter",
        "siglip": "SigLIPImageConverter", "siglip2": "SigLIPImageConverter", "vit": "ViTImageConverter",
    }[family])  # fmt: skip
    converter(image_size=(224, 224), scale=SCALE, offset=OFFSET).save_to_preset(str(place))
    return str(place)
