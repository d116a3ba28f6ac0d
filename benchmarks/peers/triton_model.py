"""The model for Triton's Python backend, which runs this file in a process of its own for each instance."""

import json
import sys

sys.path.insert(0, "@PACKAGES@")  # the backend's interpreter does not know the environment that Triton came with

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as backend


class TritonPythonModel:
    def initialize(self, args):
        path = json.loads(args["model_config"])["parameters"]["path"]["string_value"]
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def execute(self, requests):
        images = [backend.get_input_tensor_by_name(request, "image").as_numpy() for request in requests]
        batch = np.concatenate(images) if len(images) > 1 else images[0]
        probabilities = self.session.run(["probabilities"], {"image": batch})[0]
        parts = np.split(probabilities, np.cumsum([len(one) for one in images])[:-1])
        return [backend.InferenceResponse([backend.Tensor("probabilities", part)]) for part in parts]
