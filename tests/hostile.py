"""What a hostile caller might send: files, messages and streams, each near enough to a good one to get past the first check."""

from __future__ import annotations

import random
from typing import Any, NamedTuple

import numpy as np
from digitserve.v1 import recognizer_pb2 as pb
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from hypothesis import strategies as st
from PIL import Image
from tritonclient.grpc import service_pb2

from tests.pictures import encode, encode_grey, forge_png, photograph

Bytes = st.SearchStrategy[bytes]

GREY = np.tile(np.arange(0, 240, 6, dtype=np.uint8), (30, 1))
ANIMATED = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
FILES = [
    *(encode_grey(GREY, kind) for kind in ("PNG", "JPEG", "BMP", "GIF", "WEBP")),
    *(encode(Image.fromarray(GREY).convert(mode)) for mode in ("1", "P", "LA", "RGB", "RGBA", "I;16")),
    *(encode(Image.fromarray(GREY).convert(mode), "JPEG") for mode in ("RGB", "CMYK")),
    *(encode(Image.fromarray(GREY).convert(mode), "BMP") for mode in ("1", "P", "RGB")),
    *(encode(ANIMATED[0], kind, save_all=True, append_images=ANIMATED[1:]) for kind in ("PNG", "GIF", "WEBP", "MPO")),
    encode_grey(GREY, "JPEG", progressive=True),
    encode_grey(GREY, "WEBP", lossless=True),
    photograph(GREY, 6),
    forge_png(30_000, 30_000),
]
WORDS = [b"", b"", b"", b"\0", b"\xff", b"\xff" * 4, b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\n"]
WORDS += [b"IHDR", b"IDAT", b"\xff\xda", b"Exif\0\0", b"ICCP"]
NUMBERS = st.sampled_from([0, 1, 27, 28, 29, 255, 65_535, 65_536, 2**31 - 1, 2**32 - 1]) | st.integers(0, 2**32 - 1)
SIGNED = NUMBERS.map(lambda number: number - 2**32 if number >= 2**31 else number)
NAMES = st.sampled_from(
    ["", "digits", "digits:1", "digits@stable", "digits:", "../models", "digits:0", "a" * 10_000, "数字", "%s%n\0"]
)
ENUMS = st.sampled_from([0, 1, 2, 3, 4, 5, 99, -1, 2**31 - 1])


def damage(content: bytes, chance: random.Random) -> bytes:
    """The same with some places overwritten, which keeps every length right; or cut out, doubled, put in, which does not."""
    damaged = bytearray(content)
    keeps_lengths = chance.random() < 0.7
    for _ in range(chance.randint(1, 6)):
        start = chance.randint(0, len(damaged))
        word = chance.choice(WORDS) or chance.randbytes(chance.randint(1, 4))
        gone = len(word) if keeps_lengths else chance.choice([0, 1, 4, 64, len(damaged)])
        if keeps_lengths:
            word = word[: len(damaged) - start]
        damaged[start : start + gone] = word
    return bytes(damaged)


FILE = st.builds(damage, st.sampled_from(FILES), st.randoms(use_true_random=False)) | st.sampled_from(FILES)
RAW = st.builds(
    pb.RawImage, pixels=st.binary(max_size=900) | st.just(bytes(784)) | st.just(b"\1" * 1568), width=NUMBERS, height=NUMBERS
)
FRAMED = st.builds(pb.RawImage, pixels=st.binary(min_size=784, max_size=784), width=st.just(28), height=st.just(28))
IMAGE = FILE.map(lambda file: pb.Image(encoded=file)) | (RAW | FRAMED).map(lambda raw: pb.Image(raw=raw)) | st.just(pb.Image())
RECOGNIZE = st.builds(
    pb.RecognizeRequest, image=IMAGE, model=NAMES, layout=ENUMS, ink=ENUMS, top_k=NUMBERS, explain=st.booleans()
)
LENGTHS = st.sampled_from([0, 1, 783, 784, 785, 784 * 3, 784 * 300])
BATCH = st.builds(
    pb.RecognizeBatchRequest,
    images=LENGTHS.flatmap(
        lambda length: st.sampled_from([bytes(length), b"\x81" * length, bytes(range(256)) * (length // 256)])
    ),
    model=NAMES,
    layout=ENUMS,
    probabilities=st.booleans(),
)

_Infer = service_pb2.ModelInferRequest
_Parameter = service_pb2.InferParameter
PARAMETERS = st.dictionaries(
    st.sampled_from(["classification", "priority", "timeout", "sequence_id", "x" * 500]),
    st.builds(_Parameter, int64_param=st.integers(-(2**63), 2**63 - 1))
    | st.builds(_Parameter, string_param=st.text(max_size=9)),
    max_size=2,
)
CONTENTS = st.builds(
    service_pb2.InferTensorContents,
    uint_contents=st.lists(NUMBERS, max_size=4) | st.just([7] * 784),
    fp32_contents=st.lists(st.floats(width=32), max_size=4) | st.just([0.5] * 784),
    bytes_contents=st.lists(FILE, max_size=2),
)
TENSOR = st.builds(
    _Infer.InferInputTensor,
    name=st.sampled_from(["image", "encoded", "probabilities", "", "x" * 1000]),
    datatype=st.sampled_from(["UINT8", "FP32", "BYTES", "FP64", "", "x" * 1000]),
    shape=st.lists(SIGNED, max_size=4) | st.sampled_from([[1, 28, 28], [1], [2**40, 28, 28], [-1, 28, 28], [3, 1]]),
    parameters=PARAMETERS,
    contents=CONTENTS | st.none(),
)
STRINGS = FILE.map(lambda file: len(file).to_bytes(4, "little") + file)
OUTPUT = st.builds(
    _Infer.InferRequestedOutputTensor,
    name=st.sampled_from(["probabilities", "evidence", "image", ""]),
    parameters=PARAMETERS,
)
RAW_CONTENTS = STRINGS | st.binary(max_size=9) | st.sampled_from([bytes(784), b"\0\0\xc0\x7f" * 784])
INFER = st.builds(
    _Infer,
    model_name=NAMES,
    model_version=st.sampled_from(["", "1", "2", "-1", "../1"]),
    id=st.text(max_size=9),
    inputs=st.lists(TENSOR, max_size=2),
    outputs=st.lists(OUTPUT, max_size=3),
    parameters=PARAMETERS,
    raw_input_contents=st.lists(RAW_CONTENTS, max_size=2),
)

OURS, OPEN = "/digitserve.v1.Recognizer/", "/inference.GRPCInferenceService/"
MESSAGES = {
    OURS + "Recognize": RECOGNIZE,
    OURS + "RecognizeBatch": BATCH,
    OURS + "ListModels": st.just(pb.ListModelsRequest()),
    OPEN + "ModelInfer": INFER,
    OPEN + "ModelConfig": st.builds(service_pb2.ModelConfigRequest, name=NAMES, version=NAMES),
    OPEN + "ModelMetadata": st.builds(service_pb2.ModelMetadataRequest, name=NAMES, version=NAMES),
    OPEN + "ModelReady": st.builds(service_pb2.ModelReadyRequest, name=NAMES, version=NAMES),
    OPEN + "ModelStatistics": st.builds(service_pb2.ModelStatisticsRequest, name=NAMES, version=NAMES),
    OPEN + "RepositoryIndex": st.builds(service_pb2.RepositoryIndexRequest, repository_name=NAMES),
    OPEN + "RepositoryModelLoad": st.builds(service_pb2.RepositoryModelLoadRequest, model_name=NAMES),
    "/grpc.health.v1.Health/Check": st.builds(health_pb2.HealthCheckRequest, service=NAMES),
    OURS + "Nothing": st.just(pb.ListModelsRequest()),
}
STREAMS = {
    OURS + "RecognizeStream": st.builds(pb.RecognizeStreamRequest, request=RECOGNIZE, id=NUMBERS),
    OPEN + "ModelStreamInfer": INFER,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": st.builds(
        reflection_pb2.ServerReflectionRequest, file_containing_symbol=NAMES
    ),
}


class Call(NamedTuple):
    """Messages for one RPC; several for a stream."""

    path: str
    messages: tuple[bytes, ...]

    def damaged(self, chance: random.Random) -> Call:
        """The same, broken on the way."""
        return Call(self.path, tuple(damage(message, chance) for message in self.messages))


def _wire(message: st.SearchStrategy[Any]) -> Bytes:
    return message.map(lambda built: bytes(built.SerializeToString())) | st.binary(max_size=64)


def _stream(message: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[bytes, ...]]:
    return st.lists(_wire(message), max_size=4).map(tuple)


def calls() -> st.SearchStrategy[Call]:
    """Any of it. The RPCs that read images come most often."""
    often = [path for path in MESSAGES if path.endswith(("Recognize", "RecognizeBatch", "ModelInfer"))] * 4
    unary = [st.builds(Call, st.just(path), st.tuples(_wire(MESSAGES[path]))) for path in [*often, *MESSAGES]]
    return st.one_of(*unary, *(st.builds(Call, st.just(path), _stream(message)) for path, message in STREAMS.items()))
