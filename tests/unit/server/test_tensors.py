"""Tensors of the Open Inference Protocol to images and back: every form that is taken, and every one that is not."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2 as pb
from tritonclient.utils import deserialize_bytes_tensor, serialize_byte_tensor

from server.errors import InvalidRequest, RecognizerError, Unsupported
from server.tensors import read_input, read_outputs, refuse_parameters, write_outputs

SIZE = 4
LIMIT = 3
ALL_BYTES = np.arange(256, dtype=np.uint8).reshape(16, SIZE, SIZE)
IMAGES = ALL_BYTES[:2]


def ask(name: str = "image", datatype: str = "UINT8", shape: Any = (2, SIZE, SIZE), **given: Any) -> Any:
    """A ModelInferRequest with one input: `raw`, or typed contents by their field's name."""
    raw, parameters = given.pop("raw", None), given.pop("parameters", {})
    tensor = pb.ModelInferRequest.InferInputTensor(name=name, datatype=datatype, shape=shape, parameters=parameters)
    if given:
        tensor.contents.CopyFrom(pb.InferTensorContents(**given))
    return pb.ModelInferRequest(inputs=[tensor], raw_input_contents=[] if raw is None else [raw])


def read(request: Any, limit: int = LIMIT) -> Any:
    return read_input(request, SIZE, limit)


def refusal(request: Any) -> RecognizerError:
    with pytest.raises(RecognizerError) as caught:
        read(request)
    return caught.value


def pack(*strings: bytes) -> bytes:
    return bytes(serialize_byte_tensor(np.array(strings, dtype=object)).item())


@pytest.mark.parametrize("shape", [(2, SIZE, SIZE), (2, 1, SIZE, SIZE), (2, SIZE, SIZE, 1)])
@pytest.mark.parametrize(
    "content", [{"raw": IMAGES.tobytes()}, {"uint_contents": IMAGES.ravel().tolist()}], ids=["raw", "typed"]
)
def test_bytes_are_the_pixels_as_they_are(shape: Any, content: Any) -> None:
    images = read(ask(shape=shape, **content))
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images, IMAGES)


def test_raw_bytes_are_not_copied() -> None:
    images = read(ask(raw=IMAGES.tobytes()))
    assert not images.flags.owndata
    assert not images.flags.writeable


@pytest.mark.parametrize("kind", ["raw", "typed"])
def test_floats_are_a_share_of_255_and_every_level_comes_back(kind: str) -> None:
    floats = ALL_BYTES.astype(np.float32) / np.float32(255)
    content = {"raw": floats.astype("<f4").tobytes()} if kind == "raw" else {"fp32_contents": floats.ravel().tolist()}
    images = read(ask(datatype="FP32", shape=(16, SIZE, SIZE), **content), limit=16)
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images, ALL_BYTES)


def test_floats_between_two_levels_are_rounded() -> None:
    floats = np.full((1, SIZE, SIZE), 0.5, "<f4")
    assert read(ask(datatype="FP32", shape=floats.shape, raw=floats.tobytes())).max() == 128


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, -1e-6, 1.0001, 255.0])
@pytest.mark.parametrize("kind", ["raw", "typed"])
def test_floats_outside_0_to_1_are_refused(wrong: float, kind: str) -> None:
    floats = np.zeros((1, SIZE, SIZE), "<f4")
    floats[0, 1, 2] = wrong
    content = {"raw": floats.tobytes()} if kind == "raw" else {"fp32_contents": floats.ravel().tolist()}
    error = refusal(ask(datatype="FP32", shape=floats.shape, **content))
    assert (error.code, error.field) == ("INVALID_ARGUMENT", "inputs.image")
    assert "expected 0 to 1 in FP32" in error.message


def test_typed_values_over_255_are_refused() -> None:
    error = refusal(ask(shape=(1, SIZE, SIZE), uint_contents=[0] * 15 + [256]))
    assert error.message == "input 'image' holds values from 0 to 256: expected 0 to 255 in UINT8"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"raw": bytes(31)}, "holds 31 bytes, but its shape needs 32"),
        ({"raw": bytes(33)}, "holds 33 bytes, but its shape needs 32"),
        ({"raw": b""}, "holds 0 bytes, but its shape needs 32"),
        ({"raw": bytes(127), "datatype": "FP32"}, "holds 127 bytes, but its shape needs 128"),
        ({"uint_contents": [0] * 31}, "holds 31 uint_contents, but its shape needs 32"),
        ({"fp32_contents": [0.0] * 32}, "holds 0 uint_contents, but its shape needs 32"),
        ({"fp32_contents": [0.0], "datatype": "FP32"}, "holds 1 fp32_contents, but its shape needs 32"),
        ({"raw": bytes(32), "datatype": "INT8"}, "has datatype 'INT8': expected UINT8 or FP32"),
        ({"raw": bytes(32), "datatype": "BYTES"}, "has datatype 'BYTES': expected UINT8 or FP32"),
        ({"raw": bytes(32), "datatype": "x" * 500}, f"has datatype '{'x' * 77}...': expected UINT8 or FP32"),
        ({"raw": bytes(64), "shape": (4, 4, 4)}, "holds 4 images; at most 3 are accepted in one call"),
        ({"raw": bytes(64), "shape": (2**62, 4, 4)}, f"holds {2**62} images; at most 3 are accepted in one call"),
        ({}, "must have contents, and either raw or typed ones"),
        ({"raw": bytes(32), "uint_contents": [0] * 32}, "must have contents, and either raw or typed ones"),
    ],
)
def test_contents_that_do_not_fit_are_refused(given: Any, says: str) -> None:
    error = refusal(ask(**given))
    assert (error.code, error.field) == ("INVALID_ARGUMENT", "inputs.image")
    assert error.message == f"input 'image' {says}"


@pytest.mark.parametrize(
    "shape", [(), (2,), (0, 4, 4), (-1, 4, 4), (2, 16), (2, 4, 5), (2, 3, 4, 4), (2, 1, 4, 4, 1), [1] * 999]
)
def test_a_shape_that_is_no_stack_of_frames_is_refused(shape: Any) -> None:
    message = refusal(ask(shape=shape, raw=bytes(32))).message
    assert message.endswith("expected [n, 4, 4] or [n, 1, 4, 4] or [n, 4, 4, 1]")
    assert len(message) < 200


def test_two_raw_contents_for_one_input_are_refused() -> None:
    request = ask(raw=bytes(32))
    request.raw_input_contents.append(b"")
    assert refusal(request).message == "input 'image' must have contents, and either raw or typed ones"


@pytest.mark.parametrize("names", [[], ["pixels"], ["image", "encoded"], ["image", "image"], ["x" * 1000], ["image"] * 100])
def test_one_input_is_taken_and_by_its_name(names: list[str]) -> None:
    tensors = [pb.ModelInferRequest.InferInputTensor(name=name) for name in names]
    error = refusal(pb.ModelInferRequest(inputs=tensors))
    assert (error.code, error.field) == ("INVALID_ARGUMENT", "inputs")
    assert error.message.endswith(": expected one, 'image' or 'encoded'")
    assert len(error.message) < 200


@pytest.mark.parametrize("shape", [(2,), (2, 1)])
@pytest.mark.parametrize("content", [{"raw": pack(b"", b"abc")}, {"bytes_contents": [b"", b"abc"]}], ids=["raw", "typed"])
def test_strings_are_taken_apart(shape: Any, content: Any) -> None:
    assert read(ask("encoded", "BYTES", shape, **content)) == [b"", b"abc"]


@pytest.mark.parametrize(
    "content",
    [
        {"raw": pack(b"abc")},
        {"raw": pack(b"a", b"b", b"c")},
        {"raw": pack(b"a", b"b") + b"x"},
        {"raw": pack(b"a", b"b")[:-1]},
        {"raw": pack(b"a") + b"\3\0"},
        {"raw": pack(b"a") + struct.pack("<I", 2**32 - 1)},
        {"raw": b""},
        {"bytes_contents": [b"a"]},
        {"bytes_contents": [b"a"] * 3},
        {"uint_contents": [1, 2]},
    ],
)
def test_strings_that_do_not_fill_the_shape_are_refused(content: Any) -> None:
    error = refusal(ask("encoded", "BYTES", (2,), **content))
    assert (error.code, error.field) == ("INVALID_ARGUMENT", "inputs.encoded")
    assert error.message == "input 'encoded' does not hold exactly 2 strings, each behind its length"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"datatype": "UINT8"}, "has datatype 'UINT8': expected BYTES"),
        ({"shape": (2, 2)}, "has shape [2, 2]: expected [n] or [n, 1]"),
        ({"shape": (4,)}, "holds 4 images; at most 3 are accepted in one call"),
    ],
)
def test_strings_of_another_kind_are_refused(given: Any, says: str) -> None:
    error = refusal(ask(**{"name": "encoded", "datatype": "BYTES", "shape": (2,), "raw": pack(b"a", b"b")} | given))
    assert (error.field, error.message) == ("inputs.encoded", f"input 'encoded' {says}")


def test_a_parameter_of_an_input_is_refused_by_name() -> None:
    region = {"shared_memory_region": pb.InferParameter(string_param="here")}
    error = refusal(ask(raw=bytes(32), parameters=region))
    assert (error.code, error.field) == ("UNIMPLEMENTED", "parameters")
    assert error.message == "input 'image' has parameters that are not supported: 'shared_memory_region'"


class Endless(dict[str, Any]):
    """So many parameters that nobody may look at them all."""

    def __len__(self) -> int:
        return 10**9

    def __iter__(self) -> Iterator[str]:
        for number in range(100):
            yield "x" * 100 + str(number)
        raise AssertionError("too many were looked at")


def test_only_some_of_very_many_parameters_are_named() -> None:
    with pytest.raises(Unsupported) as caught:
        refuse_parameters(Endless(), "the request")
    assert len(caught.value.message) < 200


@given(st.data())
def test_no_bytes_lead_to_anything_but_images_or_a_refusal(data: st.DataObject) -> None:
    """Requests as a broken or hostile client may write them: a good one, with some of its bytes changed."""
    good = data.draw(st.sampled_from([ask(raw=IMAGES.tobytes()), ask("encoded", "BYTES", (2,), raw=pack(b"a", b"b"))]))
    content = bytearray(good.SerializeToString())
    for place, value in data.draw(st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), max_size=4)):
        content[place] = value
    with suppress(DecodeError, InvalidRequest, Unsupported):
        found = read(pb.ModelInferRequest.FromString(bytes(content)))
        assert found.shape[1:] == (SIZE, SIZE) if isinstance(found, np.ndarray) else 1 <= len(found) <= LIMIT


def want(*outputs: Any) -> Any:
    """Requested outputs: a name, or a name and its parameters."""
    pairs = [(output, {}) if isinstance(output, str) else output for output in outputs]
    tensor = pb.ModelInferRequest.InferRequestedOutputTensor
    return pb.ModelInferRequest(outputs=[tensor(name=name, parameters=parameters) for name, parameters in pairs]).outputs


def classes(count: int) -> dict[str, Any]:
    return {"classification": pb.InferParameter(int64_param=count)}


def test_all_outputs_are_meant_where_none_is_asked_for() -> None:
    assert read_outputs(want()) == {"probabilities": 0, "evidence": 0}
    assert read_outputs(want("evidence")) == {"evidence": 0}
    assert list(read_outputs(want("evidence", ("probabilities", classes(3)))).items()) == [
        ("evidence", 0),
        ("probabilities", 3),
    ]
    assert read_outputs(want(("probabilities", {"classification": pb.InferParameter(uint64_param=2)}))) == {"probabilities": 2}


@pytest.mark.parametrize(
    "asked",
    [
        want("logits"),
        want(""),
        want("probabilities", "probabilities"),
        want("x" * 1000),
        want(("probabilities", classes(0))),
        want(("probabilities", classes(-1))),
        want(("probabilities", {"classification": pb.InferParameter(string_param="3")})),
        want(("evidence", classes(3))),
    ],
)
def test_outputs_that_there_are_not_are_refused(asked: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_outputs(asked)
    assert caught.value.field == "outputs"
    assert len(caught.value.message) < 200


def test_a_parameter_of_an_output_is_refused_by_name() -> None:
    with pytest.raises(Unsupported, match="output 'evidence' has parameters that are not supported: 'shared_memory_region'"):
        read_outputs(want(("evidence", {"shared_memory_region": pb.InferParameter(string_param="there")})))


PROBABILITIES = np.array([[0.1, 0.7, 0.2], [0.25, 0.5, 0.25]], np.float32)
EVIDENCE = np.arange(2 * 3 * 5 * 7, dtype=np.float32).reshape(2, 3, 5, 7)
NAMES = ("a", "b", "七")


def written(wanted: dict[str, int], *rows: NDArray[np.float32]) -> Any:
    response = pb.ModelInferResponse()
    write_outputs(response, rows, wanted, NAMES)
    return response


def test_outputs_are_written_in_the_order_in_which_they_were_asked_for() -> None:
    response = written({"evidence": 0, "probabilities": 0}, PROBABILITIES, EVIDENCE)
    assert [(output.name, output.datatype, list(output.shape)) for output in response.outputs] == [
        ("evidence", "FP32", [2, 3, 5, 7]),
        ("probabilities", "FP32", [2, 3]),
    ]
    assert list(response.raw_output_contents) == [EVIDENCE.tobytes(), PROBABILITIES.tobytes()]


@pytest.mark.parametrize("count", [1, 2, 3, 99])
def test_classes_are_listed_best_first_and_no_more_than_there_are(count: int) -> None:
    response = written({"probabilities": count}, PROBABILITIES)
    (output,) = response.outputs
    assert (output.name, output.datatype, list(output.shape)) == ("probabilities", "BYTES", [2, min(count, 3)])
    listed = deserialize_bytes_tensor(response.raw_output_contents[0]).reshape(output.shape).tolist()
    first = ["0.700000:1:b", "0.200000:2:七", "0.100000:0:a"]
    second = ["0.500000:1:b", "0.250000:0:a", "0.250000:2:七"]
    assert [[text.decode() for text in row] for row in listed] == [first[:count], second[:count]]


def test_of_equal_classes_the_first_comes_first() -> None:
    response = pb.ModelInferResponse()
    rows = np.tile(np.array([0.25, 0.5], np.float32), (1, 50))
    write_outputs(response, (rows,), {"probabilities": 100}, [str(number) for number in range(100)])
    listed = [text.decode() for text in deserialize_bytes_tensor(response.raw_output_contents[0])]
    assert [int(text.split(":")[1]) for text in listed] == [*range(1, 100, 2), *range(0, 100, 2)]
