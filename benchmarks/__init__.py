"""What `make bench` runs: every published figure comes from here."""

from __future__ import annotations
