"""Training: datasets, networks, one readable loop, evaluation."""
