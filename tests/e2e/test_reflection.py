"""Promise: a generic client (grpcurl and the like) can find out what this server offers, without the .proto files."""

from __future__ import annotations

import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from tests.server_process import ServerProcess


@pytest.fixture
def database(server: ServerProcess) -> ProtoReflectionDescriptorDatabase:
    return ProtoReflectionDescriptorDatabase(server.connect())


def test_it_lists_the_services(database: ProtoReflectionDescriptorDatabase) -> None:
    assert {"digitserve.v1.Recognizer", "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"} <= set(
        database.get_services()
    )


def test_it_describes_the_methods(database: ProtoReflectionDescriptorDatabase) -> None:
    service = DescriptorPool(database).FindServiceByName("digitserve.v1.Recognizer")
    assert [method.name for method in service.methods] == ["Recognize", "RecognizeBatch", "RecognizeStream", "ListModels"]
    assert service.methods_by_name["Recognize"].input_type.fields_by_name["image"].number == 1
