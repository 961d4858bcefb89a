"""Run a script that was written for the original: `layers` means :mod:`fastcnn.layers`, and all else is as usual."""

import contextlib
import io
import os
import sys
import threading
import types
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader

from fastcnn.compat import aliases, own
from fastcnn.streams import Guard, say


def compile_script(path: str) -> types.CodeType:
    """The code of the script at `path`.

    Raises
    ------
    OSError
        It cannot be read.
    SyntaxError
        It is no Python.
    """
    with io.open_code(os.path.abspath(path)) as file:
        source = file.read()
    try:
        return compile(source, os.path.abspath(path), "exec", dont_inherit=True)
    except ValueError as error:  # a NUL character, before Python 3.12
        raise SyntaxError(str(error), (path, None, None, None)) from error


def run_script(
    path: str, arguments: Sequence[str] = (), code: types.CodeType | None = None, keep: Sequence[str] = ()
) -> int:
    """Run the script at `path` as ``python path arguments...`` would, in this process.

    An exception is printed as Python prints it, its traceback from the script's own lines on. KeyboardInterrupt goes
    to the caller. Modules of the script's folder, `sys.argv`, `sys.path` and the like are as before afterwards. One
    line on stderr names the script's files that are not used, as fastcnn's modules are.

    Parameters
    ----------
    path : str
    arguments : sequence of str
        What follows the script in `sys.argv`.
    code : code object, optional
        What `compile_script` returned, where it has been called already.
    keep : sequence of str
        The original's modules that are the script's own nevertheless, such as 'fc'.

    Returns
    -------
    int
        The exit status: that of SystemExit, 1 after another exception, else 0.

    Raises
    ------
    OSError, SyntaxError
        As `compile_script`; nothing has run then.
    """
    code = code or compile_script(path)
    main = types.ModuleType("__main__")
    main.__file__ = os.path.abspath(path)
    main.__loader__ = SourceFileLoader("__main__", main.__file__)
    main.__dict__["__builtins__"] = sys.modules["builtins"]
    folder = os.path.dirname(os.path.realpath(path))

    def tell(theirs: ModuleSpec) -> None:
        say(own.told(theirs, keep))

    with interpreter_kept(folder), aliases.original_names(keep, tell):
        sys.argv[:] = [path, *arguments]
        sys.path.insert(0, folder)
        sys.modules["__main__"] = main
        others = set(threading.enumerate())
        try:
            exec(code, vars(main))
        except SystemExit as error:
            status = exit_status(error.code)
        except Exception as error:
            traceback = error.__traceback__
            while traceback and traceback.tb_frame.f_code is not code:
                traceback = traceback.tb_next
            sys.excepthook(type(error), error.with_traceback(traceback), traceback)
            if text := own.explained(error, path, keep):
                say(text)
            status = 1
        else:
            status = 0
        for thread in set(threading.enumerate()) - others:  # Python waits for them at its end: the names must be there
            if not thread.daemon:
                thread.join()
    return status


def exit_status(code: object) -> int:
    """The status that Python makes of what `sys.exit` was given."""
    if code is None or isinstance(code, int):
        return int(code or 0)
    print(code, file=sys.stderr)
    return 1


@contextlib.contextmanager
def interpreter_kept(folder: str) -> Iterator[None]:
    """Put `sys` back as it was, and forget the modules that came from `folder` meanwhile."""
    names = ("argv", "path", "stdin", "stdout", "stderr", "excepthook")
    before = {name: getattr(sys, name) for name in names}
    argv, path, modules = sys.argv[:], sys.path[:], set(sys.modules)
    main = sys.modules["__main__"]
    try:
        yield
    finally:
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if stream is not before[name]:  # the script's own, whose text comes before what is printed after it
                with contextlib.suppress(Exception):
                    stream.flush()
        del stream
        vars(sys).update(before)
        for name in ("stdout", "stderr"):
            if isinstance(before[name], Guard):
                before[name].reopen()
        sys.argv[:], sys.path[:] = argv, path
        sys.modules["__main__"] = main
        local = {name for name in sys.modules.keys() - modules if "." not in name and lies_in(folder, name)}
        for name in [name for name in sys.modules.keys() - modules if name.partition(".")[0] in local]:
            del sys.modules[name]


def lies_in(folder: str, name: str) -> bool:
    """Whether a top-level module is a file or a package right in `folder`; an environment below it is not meant."""
    module = sys.modules[name]
    places = [os.path.dirname(place) for place in getattr(module, "__path__", [])]
    file = getattr(module, "__file__", None)
    return folder in (places or [os.path.dirname(file or "")])
