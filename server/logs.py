"""What the log looks like: lines for a person, or one JSON object a line for whatever collects them."""

from __future__ import annotations

import json
import logging
import sys
import time
from types import TracebackType

TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
TEXT_OF_WORKER = "%(asctime)s %(levelname)s [w{}] %(name)s: %(message)s"


class JsonFormatter(logging.Formatter):
    """time (RFC 3339, UTC), level, logger and message; worker, request_id and exception where there is one."""

    def __init__(self, worker: int = 0) -> None:
        super().__init__()
        self._worker = worker

    def format(self, record: logging.LogRecord) -> str:
        told: dict[str, str | int] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if self._worker:
            told["worker"] = self._worker
        if request_id := getattr(record, "request_id", ""):
            told["request_id"] = request_id
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps(told)


def set_up_logging(level: str, log_format: str, worker: int = 0) -> None:
    """Logs to stderr, as "text" or "json"; with the latter, warnings and what ends the process are in the log, too.

    Lines of a `worker` carry its number.
    """
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter(TEXT_OF_WORKER.format(worker) if worker else TEXT)
    handler.setFormatter(JsonFormatter(worker) if log_format == "json" else text)
    logging.basicConfig(level=level.upper(), handlers=[handler])
    if log_format == "json":
        logging.captureWarnings(True)
        sys.excepthook = _log_the_end


def _log_the_end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    logging.getLogger("digitserve").critical("ended by an unforeseen error", exc_info=(kind, error, trace))
