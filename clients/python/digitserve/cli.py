"""The command line: `digitserve recognize | models | health | bench`.

Exit codes: 0 all is well, 1 something failed (and is named), 2 the command was not understood, 130 interrupted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict

from digitserve import __version__
from digitserve.aio import AsyncClient
from digitserve.arguments import MAX_UINT32, checked_timeout_s
from digitserve.channel import DEFAULT_TARGET, DEFAULT_TIMEOUT_S, checked_target, describe_silence
from digitserve.errors import DeadlineExceeded, DigitserveError, Unavailable
from digitserve.files import find_images
from digitserve.reading import read_files
from digitserve.reports import JsonReport, TableReport, align
from digitserve.requests import INKS, LAYOUTS, Priority, Question
from digitserve.results import Model
from digitserve.security import TLS, checked_token

OK, FAILED, MISUSED, INTERRUPTED = 0, 1, 2, 130
_LOOK_TIMEOUT_S = 2.0


class NoServer(Exception):
    """Nothing answers at the target; the message is gRPC's on why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["bench"]:
        return _bench(words[1:])
    settings, unknown = make_parser().parse_known_args(words)
    if unknown:
        settings.refuse(f"unrecognized arguments: {' '.join(unknown)}")
    try:
        settings.tls, settings.token = _read_tls(settings), checked_token(os.environ.get("DIGITSERVE_TOKEN", ""))
        return asyncio.run(_run(settings))
    except ValueError as error:
        return _complain(str(error))
    except NoServer as error:
        return _complain(describe_silence(settings.server, str(error), with_tls=settings.tls is not None))
    except DigitserveError as error:
        return _complain(f"{error.code}: {error}")
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def _read_tls(settings: argparse.Namespace) -> TLS | None:
    """Raises ValueError where the flags contradict each other, or a file can't be read."""
    files = (settings.tls_authorities, settings.tls_certificate, settings.tls_key)
    if not settings.tls:
        if any(files):
            raise ValueError("--tls-authorities, --tls-certificate and --tls-key are of no use without --tls")
        return None
    tls = TLS(*files)
    try:
        tls.credentials()
    except OSError as error:
        raise ValueError(f"{error.filename} can't be read: {error.strerror}") from None
    return tls


def _complain(line: str) -> int:
    print(f"digitserve: {line}", file=sys.stderr)
    return FAILED


def _bench(words: Sequence[str]) -> int:
    from digitserve.bench.command import add_arguments, run  # it imports much that the other commands do without

    parser = argparse.ArgumentParser(prog="digitserve bench", description="Measure a server.")
    add_arguments(parser)
    return int(run(parser.parse_args(words)))


def make_parser() -> argparse.ArgumentParser:
    """The parser of every command but `bench`, which has its own."""
    parser = argparse.ArgumentParser(prog="digitserve", description="Read handwritten characters by a digitserve server.")
    parser.add_argument("--version", action="version", version=f"digitserve {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_recognize(commands)
    models = commands.add_parser("models", help="list the models that the server serves")
    models.add_argument("--json", action="store_true", help="print JSON lines instead of a table")
    health = commands.add_parser("health", help="say whether the server serves: exit code 0 if it does")
    health.add_argument("service", nargs="?", default="", help="a model's name (default: the whole server)")
    for command in commands.choices.values():
        _add_connection(command)
    commands.add_parser("bench", help="measure a server: see `digitserve bench --help`", add_help=False)
    for command in commands.choices.values():
        command.set_defaults(refuse=command.error)  # the command's own usage shows its flags, argparse would show all commands
    return parser


def _add_recognize(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("recognize", help="read image files")
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="an image, a folder (searched through), a glob, or - for standard input",
    )
    parser.add_argument("--model", default="", help="name, name:version or name@label (default: the server's)")
    parser.add_argument("--layout", choices=list(LAYOUTS), default="auto", help="how the characters lie in the image")
    parser.add_argument("--ink", choices=list(INKS), default="auto", help="whether the ink is lighter than the paper")
    parser.add_argument("--top-k", type=_count, default=0, metavar="K", help="list the K best labels of each character")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line instead of a table")


def _add_connection(parser: argparse.ArgumentParser) -> None:
    server = os.environ.get("DIGITSERVE_SERVER") or DEFAULT_TARGET
    where = "host and port (default: %(default)s; DIGITSERVE_SERVER sets it)"
    parser.add_argument("--server", type=_target, default=server, metavar="H:P", help=where)
    parser.add_argument("--tls", action="store_true", help="encrypt; a token is taken from DIGITSERVE_TOKEN, never from a flag")
    parser.add_argument("--tls-authorities", metavar="FILE", help="with --tls: PEM file of whom the server's own comes from")
    parser.add_argument("--tls-certificate", metavar="FILE", help="with --tls: PEM file of one's own certificate")
    parser.add_argument("--tls-key", metavar="FILE", help="with --tls: PEM file of that certificate's private key")
    parser.add_argument("--timeout", type=_seconds, default=DEFAULT_TIMEOUT_S, metavar="S", help="seconds for each answer")


def _count(word: str) -> int:
    if not word.isdecimal() or int(word) > MAX_UINT32:
        raise argparse.ArgumentTypeError(f"{word!r} is not a number from 0 up")
    return int(word)


def _seconds(word: str) -> float:
    try:
        return checked_timeout_s(float(word))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{word!r} is not a number of seconds above 0") from None


def _target(word: str) -> str:
    try:
        return checked_target(word)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


async def _run(settings: argparse.Namespace) -> int:
    commands = {"recognize": _recognize, "models": _models, "health": _health}
    link = {"timeout_s": settings.timeout, "tls": settings.tls, "token": settings.token}
    async with AsyncClient(settings.server, **link) as client:
        try:
            return await commands[settings.command](client, settings)
        except Unavailable as error:
            raise await _explain(client, error) from error


async def _explain(client: AsyncClient, error: Unavailable) -> Exception:
    """A server that is there, though starting or draining, answers about its health; or at least knows no such call."""
    try:
        await client.health(timeout_s=_LOOK_TIMEOUT_S)
    except (Unavailable, DeadlineExceeded):
        return NoServer(error.message)
    except DigitserveError:
        return error
    return error


async def _recognize(client: AsyncClient, settings: argparse.Namespace) -> int:
    files = find_images(settings.files)
    priority: Priority = "bulk" if len(files) > 1 else "interactive"
    question = Question(settings.model, settings.layout, settings.ink, settings.top_k, priority=priority)
    report = JsonReport(len(files)) if settings.json else TableReport(len(files))
    done = 0
    try:
        async for file, outcome in read_files(client, files, question):
            if isinstance(outcome, Unavailable):
                why = await _explain(client, outcome)
                if isinstance(why, NoServer):
                    raise why
            report.add(file.name, outcome)
            done += 1
    finally:  # what was read is told, however it ends
        report.close()
        if 0 < done < len(files):
            print(f"digitserve: {done:,} of {len(files):,} files were read", file=sys.stderr)
    return FAILED if report.failures else OK


async def _models(client: AsyncClient, settings: argparse.Namespace) -> int:
    models = await client.models()
    if settings.json:
        for model in models:
            print(json.dumps(asdict(model)))
        return OK
    header = ("NAME", "VERSION", "LABELS", "CLASSES", "INPUT", "ACCURACY", "PROVIDER", "DESCRIPTION")
    print("\n".join(align([header, *map(_model_row, models)])))
    return OK


def _model_row(model: Model) -> tuple[str, ...]:
    return (
        model.name,
        model.version,
        ",".join(model.labels) or "-",
        str(len(model.class_names)),
        f"{model.input_height}x{model.input_width}",
        f"{model.accuracy:.2%}",
        model.execution_provider.removesuffix("ExecutionProvider"),
        model.description,
    )


async def _health(client: AsyncClient, settings: argparse.Namespace) -> int:
    state = await client.health(settings.service)
    print(state)
    if state == "SERVICE_UNKNOWN":
        names = ", ".join(model.name for model in await client.models())
        print(f"digitserve: nothing is called {settings.service!r} there; there are: {names or 'no models'}", file=sys.stderr)
    return OK if state == "SERVING" else FAILED
