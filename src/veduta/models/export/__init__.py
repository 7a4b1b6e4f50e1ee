"""Scripts that export the networks that ship to ONNX."""
