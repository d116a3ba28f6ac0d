"""The inference server. Read on in the order of one request: servicer, preprocess, batcher, session, and app for start and drain."""
