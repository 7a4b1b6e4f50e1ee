"""Graphs whose convolutions multiply 8-bit integers: a quarter of the bytes, and faster on cores with support."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static


class _Batches(CalibrationDataReader):
    """Inputs of a graph, as the calibration asks for them."""

    def __init__(self, batches: Iterable[dict[str, Any]]) -> None:
        self._batches = iter(batches)

    def get_next(self) -> dict[str, Any] | None:
        """Return the next inputs, or None."""
        return next(self._batches, None)


def quantize(source: Path, target: Path, batches: Iterable[dict[str, Any]], **how: Any) -> None:
    """Write a graph whose weights and activations are 8-bit integers, a scale for each channel of the weights.

    Args:
        source: the graph in full precision.
        target: the file to write.
        batches: inputs by name; what they reach is the range of each activation.
        how: `nodes_to_quantize`, `nodes_to_exclude`, `op_types_to_quantize`, `reduce_range`, as ONNX Runtime has them.
    """
    with quiet(None):
        quantize_static(
            source,
            target,
            _Batches(batches),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            **how,
        )


@contextmanager
def quiet(name: str | None) -> Iterator[None]:
    """Keep a logger, or all of them, from remarking on what is not needed."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def convolutions(graph: Path) -> list[str]:
    """Return the names of a graph's convolutions, first to last."""
    return [node.name for node in onnx.load(graph).graph.node if node.op_type == "Conv"]
