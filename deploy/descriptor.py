"""`python -m deploy.descriptor`: writes deploy/recognizer.pb, which tells Envoy how JSON becomes a call.

The contract itself names no HTTP paths, so that a client needs nothing of googleapis. They are added here.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from digitserve.v1 import recognizer_pb2
from google.api import annotations_pb2, http_pb2
from google.protobuf import any_pb2, descriptor_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

DESCRIPTOR = Path(__file__).with_name("recognizer.pb")

# What a JSON caller gets beside the contract: google.rpc.Status, and the details that it may hold.
_DEPENDENCIES = (any_pb2, duration_pb2, status_pb2, error_details_pb2)

RULES = {
    "Recognize": http_pb2.HttpRule(post="/v1/recognize", body="*"),
    "RecognizeBatch": http_pb2.HttpRule(post="/v1/recognize:batch", body="*"),
    "ListModels": http_pb2.HttpRule(get="/v1/models"),
}


def build_descriptor() -> bytes:
    """A serialized google.protobuf.FileDescriptorSet: the contract with the paths of RULES, and what errors need."""
    files = descriptor_pb2.FileDescriptorSet()
    for module in _DEPENDENCIES:
        files.file.add().ParseFromString(module.DESCRIPTOR.serialized_pb)
    contract = files.file.add()
    contract.ParseFromString(recognizer_pb2.DESCRIPTOR.serialized_pb)
    for method in contract.service[0].method:
        if method.name in RULES:
            method.options.Extensions[annotations_pb2.http].CopyFrom(RULES[method.name])
    return files.SerializeToString(deterministic=True)


def main() -> int:
    """Replaces the file. Returns the exit status."""
    unfinished = DESCRIPTOR.with_suffix(".part")
    unfinished.write_bytes(build_descriptor())
    os.replace(unfinished, DESCRIPTOR)
    return 0


if __name__ == "__main__":
    sys.exit(main())
