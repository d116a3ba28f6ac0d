"""What the tests say in the Open Inference Protocol: tensors of tritonclient, and requests for its bare stub."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import InferInput, InferRequestedOutput, service_pb2, service_pb2_grpc

from tests.in_process import stamp

SERVICE = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]


def open_stub(channel: grpc.Channel | grpc.aio.Channel) -> Any:
    return service_pb2_grpc.GRPCInferenceServiceStub(channel)


def image_input(images: NDArray[Any]) -> InferInput:
    """The input `image`: uint8 as UINT8, float32 as FP32."""
    tensor = InferInput("image", list(images.shape), "UINT8" if images.dtype == np.uint8 else "FP32")
    return tensor.set_data_from_numpy(images)


def encoded_input(files: Sequence[bytes]) -> InferInput:
    return InferInput("encoded", [len(files)], "BYTES").set_data_from_numpy(np.array(files, dtype=object))


def ask_for(*names: str, classes: int = 0) -> list[InferRequestedOutput]:
    return [InferRequestedOutput(name, class_count=classes) for name in names]


def stamps(*numbers: int) -> NDArray[np.uint8]:
    """Images whose right answers are these numbers: (n, 28, 28)."""
    return np.frombuffer(b"".join(map(stamp, numbers)), np.uint8).reshape(-1, 28, 28)


def make_request(*numbers: int, **fields: Any) -> Any:
    """A ModelInferRequest for stamps, whose probabilities alone are asked for."""
    tensor = service_pb2.ModelInferRequest.InferInputTensor(name="image", datatype="UINT8", shape=[len(numbers), 28, 28])
    outputs = [service_pb2.ModelInferRequest.InferRequestedOutputTensor(name="probabilities")]
    raw = [stamps(*numbers).tobytes()] if numbers else []
    given = {"model_name": "digits", "inputs": [tensor], "outputs": outputs, "raw_input_contents": raw} | fields
    return service_pb2.ModelInferRequest(**given)


def read_classes(response: Any) -> list[int]:
    """The best class of each image, from the first output of a ModelInferResponse."""
    rows = np.frombuffer(response.raw_output_contents[0], "<f4").reshape(response.outputs[0].shape)
    best: list[int] = rows.argmax(axis=1).tolist()
    return best
