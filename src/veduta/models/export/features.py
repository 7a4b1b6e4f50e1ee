"""Export local features whose weights do not ship to ONNX, and compare each with torch on the spot.

    python -m veduta.models.export.features lightglue-disk

writes ``model.onnx`` beside the fetched weights, or to the model's folder below ``$VEDUTA_MODELS`` for those from a
package; from then on it is what runs, until the weights change. Needs ``[torch]`` and ``[export]``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from veduta.errors import ModelError
from veduta.images.resize import GRAY_WEIGHTS
from veduta.models.export.networks import ExportSpec, LighterGlueMatches, export_spec, noise_photos
from veduta.models.torch_models import open_kornia, open_transformers
from veduta.models.weights import ABOUT_ONNX, ONNX, file_sha256, find_weights, home

SUPERPOINT_STEP = 8  # side of a cell of SuperPoint's detector
KEYPOINTS = 2048  # SuperPoint's, at most: the notebook's number


class SuperPointKeypoints(nn.Module):
    """A uint8 picture to its best keypoints, non-maximum suppression and top-k in the graph.

    Args:
        model: SuperPoint of transformers.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.encoder, self.points, self.described = model.encoder, model.keypoint_decoder, model.descriptor_decoder
        self.border = int(model.config.border_removal_distance)
        self.register_buffer("gray", torch.from_numpy(GRAY_WEIGHTS), persistent=False)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return (K, 2) pixels x, y, (K,) scores falling to 0 and (K, 256) descriptors of a (1, H, W, 3) uint8."""
        plane = (image.float() @ self.gray / 255)[:, None]  # (1, 1, H, W)
        encoded = self.encoder(plane)[0]  # (1, C, H / 8, W / 8)
        cells = self.points.conv_score_b(F.relu(self.points.conv_score_a(encoded)))  # (1, 65, H / 8, W / 8)
        heat = _peaks(
            F.pixel_shuffle(F.softmax(cells, 1)[:, :-1], SUPERPOINT_STEP), self.points.nms_radius
        )  # (1, 1, H, W)
        b, (height, width) = self.border, heat.shape[2:]
        inside = F.pad(torch.ones_like(heat[:, :, b : height - b, b : width - b]), (b, b, b, b))
        scores, flat = torch.topk((heat * inside).flatten(), KEYPOINTS)
        xy = torch.stack((flat % width, flat // width), -1).float()  # (K, 2)
        dense = self.described.conv_descriptor_b(F.relu(self.described.conv_descriptor_a(encoded)))
        dense = F.normalize(dense, dim=1)  # (1, 256, H / 8, W / 8)
        last = torch.stack((torch.as_tensor(width), torch.as_tensor(height))).float() - SUPERPOINT_STEP / 2 - 0.5
        grid = ((xy - SUPERPOINT_STEP / 2 + 0.5) / last * 2 - 1)[None, None]  # (1, 1, K, 2)
        sampled = F.grid_sample(dense, grid, mode="bilinear", align_corners=True)
        return xy, scores, F.normalize(sampled[0, :, 0].T, dim=1)


def _peaks(heat: torch.Tensor, radius: int) -> torch.Tensor:
    """Return (1, 1, H, W) scores, all but the peaks set to 0; what is beside a peak is looked at twice again."""

    def largest(x: torch.Tensor) -> torch.Tensor:
        return F.max_pool2d(x, 2 * radius + 1, 1, radius)

    peak = heat == largest(heat)
    for _ in range(2):
        beside = largest(peak.float()) > 0
        rest = torch.where(beside, torch.zeros_like(heat), heat)
        peak = peak | ((rest == largest(rest)) & ~beside)
    return torch.where(peak, heat, torch.zeros_like(heat))


def _pair(seed: int, dim: int = 128) -> dict[str, torch.Tensor]:
    """Return two sets of features, the second a shuffled and shaken copy of the first, so that most pair up."""
    g = torch.Generator().manual_seed(seed)
    n0, n1 = 300 + seed, 280
    keypoints = torch.rand((n0, 2), generator=g) * 1.6 - 0.8
    descriptors = F.normalize(torch.randn((n0, dim), generator=g), dim=1)
    order = torch.randperm(n0, generator=g)[:n1]
    shaken = F.normalize(descriptors[order] + 0.05 * torch.randn((n1, dim), generator=g), dim=1)
    return {
        "keypoints0": keypoints,
        "descriptors0": descriptors,
        "keypoints1": keypoints[order] * 0.9 + 0.05,
        "descriptors1": shaken,
    }


def _lightglue(name: str) -> ExportSpec:
    n0, n1 = torch.export.Dim("n0"), torch.export.Dim("n1")
    return ExportSpec(
        build=lambda: LighterGlueMatches(open_kornia(name)[0]).eval(),
        inputs=_pair,
        outputs=("partner0", "probability0", "partner1"),
        dynamic=({0: n0}, {0: n0}, {0: n1}, {0: n1}),
        half=False,
        tolerance={"partner0": 0.01, "probability0": 2e-3, "partner1": 0.01},
    )


def _superpoint() -> ExportSpec:
    return ExportSpec(
        build=lambda: SuperPointKeypoints(open_transformers("superpoint", "SuperPointForKeypointDetection")[0]).eval(),
        inputs=lambda seed: {"image": noise_photos(seed, 1, 384 + 32 * seed, 480, 3)},
        outputs=("keypoints", "scores", "descriptors"),
        dynamic=({1: "height", 2: "width"},),
        half=False,
        tolerance={"keypoints": 0.01, "scores": 1e-4, "descriptors": 2e-3},
        tracing=True,  # of top-k and sampling at sizes that vary
    )


RECIPES: dict[str, Callable[[], ExportSpec]] = {
    "superpoint": _superpoint,
    "lightglue-disk": lambda: _lightglue("lightglue-disk"),
    "lightglue-aliked": lambda: _lightglue("lightglue-aliked"),
}


def export_features(name: str) -> tuple[Path, dict[str, float]]:
    """Write model `name` beside its weights; return the file and the largest difference from torch, per output.

    Raises:
        ModelError: its weights are not here.
        RuntimeError: the file differs from torch by more than is allowed; it is then not kept.
    """
    weights, folder = find_weights(name), home() / name
    folder.mkdir(parents=True, exist_ok=True)
    differences = export_spec(RECIPES[name](), folder / ONNX)
    origin = {"weights": weights.sha256, "sha256": file_sha256(folder / ONNX), "difference": differences}
    (folder / ABOUT_ONNX).write_text(json.dumps(origin, indent=1) + "\n", "utf-8")
    return folder / ONNX, differences


def export_features_main(arguments: list[str] | None = None) -> int:
    """Export the named models; return 0, or 1 when one cannot be."""
    parser = argparse.ArgumentParser(prog="python -m veduta.models.export.features", description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="+", choices=sorted(RECIPES), metavar="NAME", help=", ".join(sorted(RECIPES)))
    for name in parser.parse_args(arguments).names:
        try:
            file, differences = export_features(name)
        except (ModelError, RuntimeError) as error:
            print(error, file=sys.stderr)
            return 1
        worst = ", ".join(f"{k} {v:.2g}" for k, v in differences.items())
        print(f"{file}  {file.stat().st_size} bytes\n  largest difference from torch: {worst}")
    return 0


if __name__ == "__main__":
    raise SystemExit(export_features_main())
