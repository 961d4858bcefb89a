"""What the package says by itself: one line on stderr, which never costs the work that it is about."""

import contextlib
import sys


def say(text: str) -> None:
    """Print a line on stderr, above a progress bar where there is one; nothing where stderr is closed."""
    from tqdm import tqdm  # 20 ms, and most processes have nothing to say

    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            tqdm.write(text, file=sys.stderr)
            sys.stderr.flush()


_said: set[str] = set()


def say_once(about: str, text: str) -> None:
    """`say`, unless this process has said something `about` the same."""
    if about not in _said:
        _said.add(about)
        say(text)
