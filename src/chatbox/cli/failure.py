"""What people are told when something expected goes wrong: sentences instead of tracebacks."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from chatbox.errors import ChatboxError, ConfigError, StorageLocked

FAILED, WRONG = 1, 2


class Failed(ChatboxError):
    """A command can't go on; the text says why and what to do."""


@contextmanager
def told() -> Iterator[None]:
    """Tell what comes out of the block and exit with its code."""
    try:
        yield
    except ConfigError as error:
        typer.echo(problems(error), err=True)
        raise SystemExit(WRONG) from None
    except StorageLocked as error:
        typer.echo(f"{error}.", err=True)
        raise SystemExit(FAILED) from None
    except ChatboxError as error:
        typer.echo(sentence(str(error) or type(error).__name__), err=True)
        raise SystemExit(FAILED) from None
    except OSError as error:
        typer.echo(sentence(of_system(error)), err=True)
        raise SystemExit(FAILED) from None


def problems(error: ConfigError) -> str:
    """Every problem on its line."""
    count = len(error.problems)
    head = "One setting is wrong:" if count == 1 else f"{count} settings are wrong:"
    return "\n".join([head, *(f"  {problem}" for problem in error.problems)])


def sentence(text: str) -> str:
    """With a capital and a full stop, unless it begins with a path or a name."""
    text = text if text.endswith((".", "!", "?")) else f"{text}."
    return text[0].upper() + text[1:] if text[:1].isalpha() and text.split(" ")[0].islower() else text


def of_system(error: OSError) -> str:
    what = error.strerror or str(error)
    if error.errno == errno.ENOSPC:
        what = "the disk is full"
    return f"{what}: {error.filename}" if error.filename else what


def address_taken(host: str, port: int, error: OSError) -> Failed:
    """Why a server can't listen."""
    other = port + 1 if port < 65535 else 8080
    match error.errno:
        case errno.EADDRINUSE:
            return Failed(
                f"Port {port} on {host} is taken by another program; stop that one, or take another port: "
                f"chatbox serve --port {other}"
            )
        case errno.EACCES:
            return Failed(f"Port {port} is not for ordinary users; take one from 1024 on: chatbox serve --port 8080")
        case _:
            reason = error.strerror or str(error)
            return Failed(f"{host} port {port} can't be listened on ({reason}); give another --host or --port")


def warn(text: str) -> None:
    """A line beside the output."""
    sys.stderr.write(f"{text}\n")
