"""The batch benchmark client: loads a Recognizer server and says what came back, how fast, and what it cost.

Read in this order: settings (what was asked), images and messages (what is sent), callers (one call of each mode), load
(when calls are made), worker (a process full of them), measurement (all processes, merged), figures, report and plot.
"""

from __future__ import annotations
