"""Standard output and error that may fail, or have no such character: that costs what is printed, and no work.

A full disk, a closed pipe or terminal, and a stream that was closed before Python started (``>&-``) are the same here.
"""

import contextlib
import errno
import functools
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

_lock = threading.Lock()
_guards: dict[str, Any] = {}  # the last Guard of each stream: see `enter`


def open_missing() -> None:
    """Open the null device as each of the descriptors 0 to 2 that is closed: the next file, which may be that of a
    model, would be standard output or error to whatever writes to them by number."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest that is free


def tell(text: bytes) -> None:
    """Write to standard error from a signal handler: not by `print`, which the signal may have interrupted."""
    if sys.__stderr__ is not None:  # else it was closed at the start, and 2 may be any file
        with contextlib.suppress(OSError):
            os.write(2, text)


def printable(text: str, stream: Any) -> str:
    """`text`, with backslash escapes where `stream` has no such character."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        text.encode(encoding, getattr(stream, "errors", None) or "strict")
    except UnicodeEncodeError:
        return text.encode(encoding, "backslashreplace").decode(encoding)
    return text


def print_line(text: str) -> None:
    """`print`, on any terminal."""
    print(printable(text, sys.stdout))


def say(text: str) -> None:
    """A line of the package's own on stderr, above a progress bar where there is one; nothing where that is closed."""
    if sys.stderr is None:
        return
    tqdm = getattr(sys.modules.get("tqdm"), "tqdm", None)  # no bar is shown where nobody has imported it
    write = functools.partial(tqdm.write, file=sys.stderr) if tqdm else functools.partial(print, file=sys.stderr)
    with contextlib.suppress(OSError, ValueError):
        write(printable(text, sys.stderr))
        sys.stderr.flush()


_said: set[str] = set()


def say_once(about: str, text: str) -> None:
    """`say`, unless this process has said something `about` the same."""
    if about not in _said:
        _said.add(about)
        say(text)


class Guard:
    """A text stream whose errors are kept in `lost`, the first of them, instead of raised.

    What could not be written is dropped, as the interpreter would try once more at its end, and exit with status 120.
    To all else it is the stream itself, by its class too: scripts ask ``isinstance(sys.stdout, io.TextIOWrapper)``.
    """

    def __init__(self, stream: Any):
        self.missing = stream is None
        self.stream = stream
        self.users = 0  # ``with guarded()`` blocks, in any thread
        self.begin()

    def begin(self) -> None:
        """Before the first of the blocks that are open at once."""
        if self.missing:
            self.stream = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - `leave` closes it
        live = None if ended(self.stream) else self.stream
        self.written_as = getattr(live, "encoding", None), getattr(live, "errors", None)
        self.lost: Exception | None = None
        self.last = "\n"  # the last character written

    def guards(self, stream: Any) -> bool:
        """Whether it was made for `stream`, which is None where there is none."""
        return stream is None if self.missing else stream is self.stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    @property  # type: ignore[misc]
    def __class__(self) -> type:  # `isinstance` asks for it where `type` has said no
        return type(self.stream)

    # Python looks for these in the class alone.
    def __enter__(self) -> "Guard":
        self.stream.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[str]:
        return iter(self.stream)

    def __next__(self) -> str:
        return next(self.stream)

    def isatty(self) -> bool:
        return not ended(self.stream) and self.stream.isatty()  # else tqdm's question would end a training

    def close(self) -> None:
        with self.errors_kept():
            self.stream.close()

    def write(self, text: str) -> int:
        if self.missing and text:
            self.lose(OSError(errno.EBADF, os.strerror(errno.EBADF)))
        with self.errors_kept():
            try:
                self.stream.write(text)
            except UnicodeEncodeError:
                self.stream.write(printable(text, self.stream))
        self.last = text[-1:] or self.last
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        if not ended(self.stream):  # else whoever has closed or detached it has flushed it, and nothing is lost
            with self.errors_kept():
                self.stream.flush()

    def reopen(self) -> None:
        """Go on after a script that has closed or detached the stream, where it is Python's own, which leaves its
        descriptor open: what is printed later still has a place, and the interpreter a stream to flush at its end."""
        own = [sys.__stdout__, sys.__stderr__]
        if ended(self.stream) and self.stream in own:
            encoding, errors = self.written_as
            descriptor = 1 + own.index(self.stream)
            self.stream = open(descriptor, "w", encoding=encoding, errors=errors, closefd=False)  # noqa: SIM115

    @contextlib.contextmanager
    def errors_kept(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:  # ValueError: a script has closed it
            self.lose(error)
            with contextlib.suppress(OSError, ValueError, AttributeError):  # no file, but a notebook's or a test's
                drop_buffered(self.stream)

    def lose(self, error: Exception) -> None:
        self.lost = self.lost or error

    def failure(self) -> str | None:
        """What a message says of output that was lost, or None: a reader that left (``| head``) has what it wants."""
        self.flush()
        if self.lost is None or isinstance(self.lost, BrokenPipeError):
            return None
        return f"cannot write to standard output: {getattr(self.lost, 'strerror', None) or self.lost}"


def ended(stream: Any) -> bool:
    """Whether somebody has closed a stream, or detached it from its buffer."""
    try:
        return bool(getattr(stream, "closed", False))
    except ValueError:  # what a detached one says to everything
        return True


def drop_buffered(stream: Any) -> None:
    """Write what `stream` holds to the null device; it is the same file as before afterwards."""
    descriptor = stream.fileno()
    try:
        kept = os.dup(descriptor)
    except OSError:  # closed: the null device stays
        kept = None
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, descriptor)
        stream.flush()
    finally:
        if kept is not None:
            os.dup2(kept, descriptor)
            os.close(kept)
        if null != descriptor:
            os.close(null)


@contextlib.contextmanager
def guarded() -> Iterator[tuple[Guard, Guard]]:
    """`sys.stdout` and `sys.stderr` are `Guard` objects in a ``with`` block, one for all threads that are in one."""
    open_missing()
    with _lock:
        guards = enter("stdout"), enter("stderr")
    try:
        yield guards
    finally:
        with _lock:
            for name, guard in zip(("stdout", "stderr"), guards, strict=True):
                leave(name, guard)


def enter(name: str) -> Guard:
    """The guard of that stream, which is put in its place unless it is there already.

    It is kept for the next block: `print` of another thread, which does not hold what it finds in `sys`, may still be
    writing to it when the last block ends. Python 3.11 crashed where it was gone then.
    """
    stream = getattr(sys, name)
    guard = stream if isinstance(stream, Guard) else _guards.get(name)
    if guard is None or not (guard is stream or guard.guards(stream)):
        guard = _guards[name] = Guard(stream)
    elif not guard.users:
        guard.begin()
    guard.users += 1
    setattr(sys, name, guard)
    return guard


def leave(name: str, guard: Guard) -> None:
    """Put the stream back when the last block ends, unless somebody has put another one there."""
    guard.flush()
    guard.users -= 1
    if guard.users:
        return
    if getattr(sys, name) is guard:
        setattr(sys, name, None if guard.missing else guard.stream)
    if guard.missing:
        guard.stream.close()
