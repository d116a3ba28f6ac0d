"""What can go wrong in training and export. Every message says what and where in one line.

TrainingError
├── DataError         the images can't be found, fetched or read
├── CheckpointError   a file is no checkpoint, or one of another network
└── SettingsError     two settings contradict each other
"""

from __future__ import annotations


class TrainingError(Exception):
    """Base of everything that ends a command with one line and exit status 1."""


class DataError(TrainingError):
    """The images can't be found, fetched or read."""


class CheckpointError(TrainingError):
    """A file is no checkpoint of ours, or one of another network."""


class SettingsError(TrainingError):
    """A setting is out of its range, or two contradict each other."""
