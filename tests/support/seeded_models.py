"""Weights of the models that are run by torch: their own configurations made small, and seeded random numbers."""

import json
from pathlib import Path

SUPERPOINT = {"encoder_hidden_sizes": [16, 16, 32, 32], "decoder_hidden_size": 64, "descriptor_decoder_dim": 256}


def superpoint_config():
    from transformers import SuperPointConfig

    return SuperPointConfig(**SUPERPOINT)


def build(kind):
    """A model of transformers with seeded random weights."""
    import torch
    import transformers

    torch.manual_seed(7)
    if kind == "superpoint":
        model = transformers.SuperPointForKeypointDetection(superpoint_config())
    elif kind == "superglue":
        config = transformers.SuperGlueConfig(
            keypoint_detector_config=superpoint_config(), gnn_layers_types=["self", "cross"] * 2
        )
        model = transformers.SuperGlueForKeypointMatching(config)
    elif kind == "lightglue":
        config = transformers.LightGlueConfig(keypoint_detector_config=superpoint_config(), num_hidden_layers=3)
        model = transformers.LightGlueForKeypointMatching(config)
    elif kind == "efficientloftr":
        config = transformers.EfficientLoFTRConfig(
            stage_num_blocks=[1, 1, 1, 1], out_features=[16, 16, 32, 64], hidden_size=64, num_attention_layers=1
        )
        model = transformers.EfficientLoFTRForKeypointMatching(config)
    else:
        names = {i: f"class {i}" for i in range(150)}
        names |= {1: "building, edifice", 2: "sky", 4: "tree", 9: "grass", 12: "person, individual", 17: "plant, flora"}
        names |= {20: "car, auto", 21: "water", 66: "flower"}
        config = transformers.SegformerConfig(
            hidden_sizes=[8, 16, 16, 16], depths=[1, 1, 1, 1], decoder_hidden_size=16, id2label=names
        )
        model = transformers.SegformerForSemanticSegmentation(config)
    for name, parameter in model.named_parameters():  # of spread enough that scores differ
        if parameter.ndim > 1:
            torch.nn.init.xavier_normal_(parameter, gain=2.0 if "conv_score_b" in name else 1.0)
    return model.eval()


KINDS = {
    "superpoint": "superpoint",
    "superglue": "superglue",
    "lightglue-superpoint": "lightglue",
    "efficientloftr": "efficientloftr",
    "segformer": "segformer",
}


def save(name, folder):
    """Write the files a hub would have of a model and return its folder."""
    model = build(KINDS[name])
    model.save_pretrained(folder)
    config = json.loads((Path(folder) / "config.json").read_text())
    assert config["model_type"] == KINDS[name]
    return Path(folder)
