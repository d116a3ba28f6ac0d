"""Export: a checkpoint becomes a verified, self-describing ONNX model in the model repository."""
