"""The contract as plain data: every field's number and type, every enum's values, every method's messages.

`python -m tests.contract.descriptor > tests/contract/recognizer.json` records it anew, after a change that is meant.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from digitserve.v1 import recognizer_pb2
from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor, MethodDescriptor

Recorded = dict[str, Any]


def describe_contract() -> Recorded:
    """Message and enum names to their members, and the service's name to its methods."""
    file: Any = recognizer_pb2.DESCRIPTOR
    described: Recorded = {}
    for name, message in file.message_types_by_name.items():
        described[f"message {name}"] = {field.name: _describe_field(field) for field in message.fields}
    for name, enum in file.enum_types_by_name.items():
        described[f"enum {name}"] = _describe_enum(enum)
    for service in file.services_by_name.values():
        described[f"service {service.full_name}"] = {method.name: _describe_method(method) for method in service.methods}
    return described


def _describe_field(field: FieldDescriptor) -> str:
    kinds = {value: name[5:].lower() for name, value in vars(FieldDescriptor).items() if name.startswith("TYPE_")}
    kind = kinds[field.type]
    named = field.message_type or field.enum_type
    many = "repeated " if field.is_repeated else ""
    one_of = f" in oneof {field.containing_oneof.name}" if field.containing_oneof else ""
    return f"{field.number}: {many}{named.full_name if named else kind}{one_of}"


def _describe_enum(enum: EnumDescriptor) -> dict[str, int]:
    return {value.name: value.number for value in enum.values}


def _describe_method(method: MethodDescriptor) -> str:
    asked = ("stream " if method.client_streaming else "") + method.input_type.name
    answered = ("stream " if method.server_streaming else "") + method.output_type.name
    return f"{asked} -> {answered}"


def lost_members(recorded: Recorded, described: Recorded) -> list[str]:
    """What was recorded and is gone or different now: each of them breaks clients that are out there."""
    return [
        f"{owner}.{member} was {was!r}, is {described.get(owner, {}).get(member)!r}"
        for owner, members in recorded.items()
        for member, was in members.items()
        if described.get(owner, {}).get(member) != was
    ]


if __name__ == "__main__":
    json.dump(describe_contract(), sys.stdout, indent=2)
    sys.stdout.write("\n")
