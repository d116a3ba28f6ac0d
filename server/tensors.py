"""Tensors of the Open Inference Protocol: a request's input to images, a model's rows to outputs.

Raw bytes lie as the protocol says: row by row, little endian, each string behind its length in 4 bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.errors import InvalidRequest, Unsupported
from server.job import Images, Rows

IMAGE, ENCODED = "image", "encoded"
PROBABILITIES, EVIDENCE = OUTPUTS = ("probabilities", "evidence")
CLASSIFICATION = "classification"

# For each datatype of pixels: how it lies in raw bytes, where it lies in typed contents and as what, and its largest value.
_PIXELS: dict[str, tuple[Any, str, Any, int]] = {
    "UINT8": (np.dtype("u1"), "uint_contents", np.uint32, 255),
    "FP32": (np.dtype("<f4"), "fp32_contents", np.float32, 1),
}
_LENGTH = struct.Struct("<I")
FEW = 8  # of what the wire brings in any number, no more are looked at than an error needs to name


def read_input(request: Any, size: int, max_images: int) -> Images | list[bytes]:
    """The one input of a ModelInferRequest: `image` as (n, size, size) uint8, or the n files of `encoded`.

    Raises:
        InvalidRequest: not one of these two, another datatype or shape, contents that do not fill it, or n > max_images.
        Unsupported: it has a parameter.
    """
    names, raw = [tensor.name for tensor in request.inputs[:FEW]], request.raw_input_contents
    if len(names) != 1 or names[0] not in (IMAGE, ENCODED):
        shown = _show(", ".join(names))
        raise InvalidRequest(f"the inputs are {shown}: expected one, {IMAGE!r} or {ENCODED!r}", field="inputs")
    tensor = request.inputs[0]
    refuse_parameters(tensor.parameters, f"input {tensor.name!r}")
    if len(raw) + len(tensor.contents.ListFields()) != 1:
        raise _refuse(tensor, "must have contents, and either raw or typed ones")
    read = _read_pixels if tensor.name == IMAGE else _read_strings
    return read(tensor, raw[0] if raw else None, size, max_images)


def _read_pixels(tensor: Any, raw: bytes | None, size: int, max_images: int) -> Images:
    if tensor.datatype not in _PIXELS:
        raise _refuse(tensor, f"has datatype {_show(tensor.datatype)}: expected UINT8 or FP32")
    dtype, contents, typed_dtype, top = _PIXELS[tensor.datatype]
    count = _read_count(tensor, [[size, size], [1, size, size], [size, size, 1]], max_images)
    typed = getattr(tensor.contents, contents)
    found, unit, unit_bytes = (len(typed), contents, 1) if raw is None else (len(raw), "bytes", dtype.itemsize)
    if found != count * size * size * unit_bytes:
        raise _refuse(tensor, f"holds {found} {unit}, but its shape needs {count * size * size * unit_bytes}")
    values = np.fromiter(typed, typed_dtype, found) if raw is None else np.frombuffer(raw, dtype)
    return _scale(tensor, values, top).reshape(count, size, size)


def _scale(tensor: Any, values: NDArray[Any], top: int) -> Images:
    """0..top to 0..255; no copy if that is what came."""
    if values.dtype == np.uint8:
        return values
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= top):  # nor is this true of NaN
        raise _refuse(tensor, f"holds values from {low} to {high}: expected 0 to {top} in {tensor.datatype}")
    return np.rint(values * np.float32(255 / top)).astype(np.uint8)


def _read_strings(tensor: Any, raw: bytes | None, size: int, max_images: int) -> list[bytes]:
    if tensor.datatype != "BYTES":
        raise _refuse(tensor, f"has datatype {_show(tensor.datatype)}: expected BYTES")
    count = _read_count(tensor, [[], [1]], max_images)
    strings = list(tensor.contents.bytes_contents[: count + 1]) if raw is None else _split(raw, count)
    if len(strings) != count:
        raise _refuse(tensor, f"does not hold exactly {count} strings, each behind its length")
    return strings


def _split(raw: bytes, count: int) -> list[bytes]:
    """The strings, if they are `count`; else another number of them."""
    strings: list[bytes] = []
    start = 0
    while start + _LENGTH.size <= len(raw) and len(strings) <= count:
        begin = start + _LENGTH.size
        start = begin + _LENGTH.unpack_from(raw, begin - _LENGTH.size)[0]
        strings.append(raw[begin:start])
    return strings if start == len(raw) else []


def _read_count(tensor: Any, shapes: list[list[int]], max_images: int) -> int:
    count, *rest = tensor.shape[:FEW] or [0]
    if count < 1 or rest not in shapes:
        expected = " or ".join(str(["n", *shape]).replace("'", "") for shape in shapes)
        raise _refuse(tensor, f"has shape {[count, *rest]}: expected {expected}")
    if count > max_images:
        raise _refuse(tensor, f"holds {count} images; at most {max_images} are accepted in one call")
    return int(count)


def read_outputs(asked: Sequence[Any]) -> dict[str, int]:
    """The outputs to return: for each how many classes to list by name, 0 for the tensor itself. All, if none is asked for.

    Raises:
        InvalidRequest: there is no such output, it is asked for twice, or it has no classes to list.
        Unsupported: a parameter other than `classification`.
    """
    wanted: dict[str, int] = {}
    for output in asked:
        if output.name not in OUTPUTS or output.name in wanted:
            expected = f"expected each of {', '.join(OUTPUTS)} once at most"
            raise InvalidRequest(f"output {_show(output.name)} can't be asked for: {expected}", field="outputs")
        wanted[output.name] = 0
        refuse_parameters(output.parameters, f"output {output.name!r}", CLASSIFICATION)
        if CLASSIFICATION in output.parameters:
            wanted[output.name] = read_whole_number(output.parameters, CLASSIFICATION, field="outputs")
            if wanted[output.name] < 1 or output.name != PROBABILITIES:
                message = f"{CLASSIFICATION} is how many classes to list, 1 or more, and only for {PROBABILITIES}"
                raise InvalidRequest(message, field="outputs")
    return wanted or dict.fromkeys(OUTPUTS, 0)


def refuse_parameters(parameters: Mapping[str, Any], owner: str, known: str = "") -> None:
    """Raises Unsupported, by name, for every parameter but `known`: to ignore one may make the answer a wrong one."""
    if parameters and (names := sorted(islice((name for name in parameters if name != known), FEW))):
        raise Unsupported(f"{owner} has parameters that are not supported: {_show(', '.join(names))}", field="parameters")


def read_whole_number(parameters: Mapping[str, Any], name: str, field: str = "parameters") -> int:
    """A parameter; 0 where there is none. Raises InvalidRequest, which blames `field`, if it is not a whole number."""
    if name not in parameters:
        return 0
    kind = parameters[name].WhichOneof("parameter_choice")
    if kind not in ("int64_param", "uint64_param"):
        raise InvalidRequest(f"the parameter {name!r} must be a whole number", field=field)
    return int(getattr(parameters[name], kind))


def write_outputs(response: Any, rows: Rows, wanted: Mapping[str, int], class_names: Sequence[str]) -> None:
    """Appends the outputs to a ModelInferResponse, in the order in which they were asked for."""
    for name, classes in wanted.items():
        values, datatype = rows[OUTPUTS.index(name)], "BYTES" if classes else "FP32"
        shape = [len(values), min(classes, len(class_names))] if classes else values.shape
        response.outputs.add(name=name, datatype=datatype, shape=shape)
        raw = _list_classes(values, classes, class_names) if classes else values.astype("<f4", copy=False).tobytes()
        response.raw_output_contents.append(raw)


def _list_classes(values: NDArray[np.float32], classes: int, class_names: Sequence[str]) -> bytes:
    """The best classes of each row as `value:index:label`, as Triton writes them."""
    best = np.argsort(-values, axis=1, kind="stable")[:, :classes].tolist()
    pairs = [(row, i) for row, order in zip(values.tolist(), best, strict=True) for i in order]
    texts = [f"{row[i]:.6f}:{i}:{class_names[i]}".encode() for row, i in pairs]
    return b"".join(_LENGTH.pack(len(text)) + text for text in texts)


def _refuse(tensor: Any, what: str) -> InvalidRequest:
    return InvalidRequest(f"input {tensor.name!r} {what}", field=f"inputs.{tensor.name}")


def _show(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")
