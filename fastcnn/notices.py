"""What the package says by itself: one line on stderr, which never costs the work that it is about."""

import contextlib
import functools
import sys


def say(text: str) -> None:
    """Print a line on stderr, above a progress bar where there is one; nothing where stderr is closed."""
    if sys.stderr is None:
        return
    tqdm = getattr(sys.modules.get("tqdm"), "tqdm", None)  # no bar is shown where nobody has imported it
    write = functools.partial(tqdm.write, file=sys.stderr) if tqdm else functools.partial(print, file=sys.stderr)
    with contextlib.suppress(OSError, ValueError):
        write(text)
        sys.stderr.flush()


_said: set[str] = set()


def say_once(about: str, text: str) -> None:
    """`say`, unless this process has said something `about` the same."""
    if about not in _said:
        _said.add(about)
        say(text)
