"""A model without what nobody asks for.

onnxruntime computes all outputs of a graph, whichever are fetched, and never leaves out a node. So a session that is to answer
without evidence has to be given a graph without it. Of the file's format (onnx.proto) only what that takes is declared here;
protobuf carries everything else along, as fields that it does not know.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

PACKAGE = "digitserve.part_of_onnx"
_FIELDS = {  # message -> its fields: name, number, whether there may be several, and what it holds
    "Model": [("graph", 7, False, "Graph")],
    "Graph": [("node", 1, True, "Node"), ("output", 12, True, "Value")],
    "Node": [("input", 1, True, "string"), ("output", 2, True, "string"), ("attribute", 5, True, "Attribute")],
    "Attribute": [("g", 6, False, "Graph")],
    "Value": [("name", 1, False, "string")],
}


def keep_only(model: bytes, output: str) -> bytes:
    """The same model with one of its outputs, and only the nodes that lead to it.

    A model with branches or loops comes back as it was: what these read is not among their inputs.

    Args:
        model: an ONNX file.
        output: the name of an output of its graph.

    Raises:
        google.protobuf.message.DecodeError: it is no ONNX file.
    """
    file = _Model.FromString(model)
    graph, needed = file.graph, {output}
    if any(attribute.HasField("g") for node in graph.node for attribute in node.attribute):
        return model
    known = 0
    while known < len(needed):  # once is enough where nodes lie in the order of their computation
        known = len(needed)
        for node in reversed(graph.node):
            if not needed.isdisjoint(node.output):
                needed.update(node.input)
    for place in reversed(range(len(graph.node))):
        if needed.isdisjoint(graph.node[place].output):
            del graph.node[place]
    for place in reversed(range(len(graph.output))):
        if graph.output[place].name != output:
            del graph.output[place]
    return bytes(file.SerializeToString())


def _declare() -> Any:
    file = FileDescriptorProto(name="part_of_onnx.proto", package=PACKAGE, syntax="proto2")
    for message, fields in _FIELDS.items():
        declared = file.message_type.add(name=message)
        for name, number, several, kind in fields:
            field = declared.field.add(name=name, number=number, type=Field.TYPE_STRING)
            field.label = Field.LABEL_REPEATED if several else Field.LABEL_OPTIONAL
            if kind in _FIELDS:
                field.type, field.type_name = Field.TYPE_MESSAGE, f".{PACKAGE}.{kind}"
    pool = DescriptorPool()
    pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.Model"))


_Model = _declare()
