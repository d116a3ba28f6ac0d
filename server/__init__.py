"""The inference server.

Read it in the order of one request: servicer, intake, preprocess, batcher, session; then app for start and drain.
"""
