"""Envoy in front of the server, and both started by one command."""
