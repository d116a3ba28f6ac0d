"""Other servers with the same model, the same onnxruntime and the same client: `python -m benchmarks.peers`.

Peers are servers that speak the Open Inference Protocol by gRPC and can be had from PyPI: MLServer, which is Python like ours,
and Triton, whose front is C++. Each is installed into a virtual environment of its own in build/peers, once.
"""
