"""Kernels that are cut into tasks, which threads take one by one. Requires numba.

numba gives each thread an equal share of a ``prange`` beforehand. On a machine where something else runs too, or whose
cores are not alike, all then wait for the slowest. Kernels are called once on each thread instead, which takes the
next task until none is left. A thread has its own share, in order, and helps the others when it is done: kernel after
kernel works on the same images with the same core, in whose caches they are. Who does a task does not change its
result, so results stay the same bit for bit; tasks are cut by shape alone.
"""

import inspect
import typing
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastcnn.backends.numba.core import jit
from fastcnn.backends.numba.core.hints import Shape
from fastcnn.backends.numba.core.jit import COUNTERS, LINE, LOOP, TASK_BITS, THREAD_BITS, called, inline, serial
from fastcnn.backends.numba.core.vectors import count_nothing

CHUNK = 16384  # elements of one task of a flat array at least: 64 KiB of float32, long enough to hide the launch
TASK_BYTES = 48 << 10  # of an image at least, where a task is some of its rows: 3 us, as each costs 0.1 us by itself
MANY = 128  # tasks, with which any number of threads end together
INTEGER = ir.IntType(64)
LOOP_TYPE = ir.FunctionType(ir.VoidType(), [INTEGER] * 3).as_pointer()  # of `jit.call_on_threads`
COUNTERS_TYPE = ir.ArrayType(INTEGER, LINE << THREAD_BITS)
FAILED = "a kernel failed on one of several threads: with FASTCNN_NUM_THREADS=1 it says why"


@inline
def parts_of(tasks):
    """The number of tasks, of threads or 0 for the caller's alone, and of this thread: see `jit.TASK_BITS`."""
    threads = tasks >> TASK_BITS & (1 << THREAD_BITS) - 1
    return tasks & (1 << TASK_BITS) - 1, threads, max(0, (tasks >> TASK_BITS + THREAD_BITS) - 1)


def known(builder: ir.IRBuilder, name: str, kind: ir.Type) -> ir.Value:
    """The address of what compiled kernels know by name: see `jit.LOOP`."""
    return builder.module.globals.get(name) or ir.GlobalVariable(builder.module, kind, name)


def counters_of(builder: ir.IRBuilder) -> ir.Value:
    return builder.bitcast(known(builder, COUNTERS, COUNTERS_TYPE), INTEGER.as_pointer())


@intrinsic
def fetch_and_add(typingctx, index):
    """The counter `index`, and add 1 to it: one atomic operation."""

    def codegen(context, builder, signature, args):
        return builder.atomic_rmw("add", builder.gep(counters_of(builder), args), INTEGER(1), "monotonic")

    return types.int64(types.int64), codegen


@serial
def next_task(task, tasks, threads, thread):
    """The next of `tasks` for a thread whose last one was `task`, or `tasks` where none is left."""
    if threads == 0:
        return task + 1
    for i in range(threads):
        owner = (thread + i) % threads
        task = owner * tasks // threads + fetch_and_add(owner * LINE)
        if task < (owner + 1) * tasks // threads:
            return task
    return tasks


def without_owner(context: Any, builder: ir.IRBuilder, kind: types.Type, value: ir.Value) -> ir.Value:
    """`value`, with no array in it that counts references."""
    if isinstance(kind, types.Array):
        array = context.make_array(kind)(context, builder, value)
        count_nothing(array)
        return array._getvalue()
    for i, item in enumerate(kind if isinstance(kind, types.BaseTuple) else ()):
        value = builder.insert_value(value, without_owner(context, builder, item, builder.extract_value(value, i)), i)
    return value


@intrinsic
def borrowed(typingctx, arguments):
    """`arguments` whose arrays count no references, as whoever launches a kernel holds them. Counting takes time where
    arrays are cut, and threads that count in one place wait for each other: convolutions on two took a fifth longer."""

    def codegen(context, builder, signature, args):
        return without_owner(context, builder, arguments, args[0])

    return arguments(arguments), codegen


@intrinsic
def launched(typingctx, arguments, tasks):
    """Whether the kernel that this stands in, whose `arguments` these are, is to be launched on threads, by `tasks`: it
    has then been called again on each of them, with `tasks` that say which thread it is, and has nothing left to do.

    All kernels use one ``prange``, that of `jit.call_on_threads`, to which one function of two integers is like
    another: with a ``prange`` in each, and code for threads and for none, the first LeNet step took 23 s and not 12.
    """

    def one_thread(context, kernel, memory):
        """A function that calls `kernel`, of an address like that of `memory`, where its arguments lie and last whether
        it has failed, and of the number of a thread."""
        kind, name = ir.FunctionType(ir.VoidType(), [INTEGER, INTEGER]), kernel.module.get_unique_name("one_thread")
        function = ir.Function(kernel.module, kind, name)
        function.linkage = "internal"
        builder = ir.IRBuilder(function.append_basic_block())
        place = builder.inttoptr(function.args[0], memory.type)
        *fields, failed = (cgutils.gep_inbounds(builder, place, 0, i) for i in range(len(arguments) + 2))
        *values, tasks = map(builder.load, fields)
        thread = builder.shl(builder.add(function.args[1], INTEGER(1)), INTEGER(TASK_BITS + THREAD_BITS))
        values, given = [*values, builder.or_(tasks, thread)], (*arguments, types.int64)
        status, _ = context.call_conv.call_function(builder, kernel, types.none, given, values)
        with cgutils.if_unlikely(builder, status.is_error):
            builder.store(INTEGER(1), failed)
        builder.ret_void()
        return function

    def codegen(context, builder, signature, args):
        threads = builder.lshr(args[1], INTEGER(TASK_BITS))  # with a thread's number, more than there can be
        asked = builder.icmp_unsigned("<", builder.sub(threads, INTEGER(1)), INTEGER((1 << THREAD_BITS) - 1))
        with builder.if_then(asked):
            cgutils.memset(builder, counters_of(builder), builder.mul(threads, INTEGER(LINE * 8)), 0)
            values = [*cgutils.unpack_tuple(builder, args[0], len(arguments)), args[1], INTEGER(0)]
            memory = cgutils.alloca_once_value(builder, cgutils.pack_struct(builder, values))
            function, loop = one_thread(context, builder.function, memory), known(builder, LOOP, LOOP_TYPE)
            given = [builder.ptrtoint(pointer, INTEGER) for pointer in (function, memory)]
            builder.call(builder.load(loop), [*given, threads])
            failed = builder.load(cgutils.gep_inbounds(builder, memory, 0, len(arguments) + 1))
            with cgutils.if_unlikely(builder, builder.trunc(failed, ir.IntType(1))):
                context.call_conv.return_user_exc(builder, RuntimeError, (FAILED,))
        return asked

    return types.boolean(arguments, types.int64), codegen


KERNEL = """
def {name}({parameters}, _tasks):
    _arguments = _borrowed(({parameters},))
    if _launched(_arguments, _tasks):
        return
    {parameters}, = _arguments
    _number, _threads, thread = _parts_of(_tasks)
    task, first = _next_task(_minus_one, _number, _threads, thread), True
    while task < _number:
        _work({arguments})
        task, first = _next_task(task, _number, _threads, thread), False
"""
HELPERS = {
    "_borrowed": borrowed,
    "_launched": launched,
    "_parts_of": parts_of,
    "_next_task": next_task,
    "_minus_one": np.int64(-1),
}


def task_kernel(function: Callable) -> Callable:
    """Compile a loop over all tasks around ``function(task, thread, first, ...)``, the work of one task.

    Launch it by ``name(..., tasks, work=, threads=)``: what `function` takes apart from the number of the task and,
    where it asks for them, that of the thread, and whether this is the thread's first task; then how many tasks there
    are. For `work` and `threads` see `jit.launcher`.

    An argument whose annotation is a NamedTuple is launched as a plain tuple, which the loop names: a NamedTuple from
    Python takes numba 1.5 us longer. In compiled code, naming costs nothing.
    """
    names, hints = list(inspect.signature(function).parameters), typing.get_type_hints(function)
    named = {f"_name_{name}": hints[name] for name in names if hasattr(hints.get(name), "_fields")}
    passed = ", ".join(f"_name_{name}(*{name})" if f"_name_{name}" in named else name for name in names)
    parameters = ", ".join(name for name in names if name not in ("task", "thread", "first"))
    source = KERNEL.format(name=function.__name__, parameters=parameters, arguments=passed)
    # Inlined: with the work as a function of its own, the first LeNet step took 13 s to compile, and not 12.
    scope: dict[str, Any] = {**named, **HELPERS, "_work": inline(function), "__name__": function.__module__}
    exec(compile(source, function.__code__.co_filename, "exec"), scope)
    return jit.launcher(function, called(scope[function.__name__]))


def chunks(size: int) -> int:
    """Tasks of a flat array of `size` elements: see `chunk`."""
    return -(-size // (CHUNK * max(1, size // (CHUNK * MANY))))


@inline
def chunk(task, size):
    """The first and the last of `size` elements that make a task: whole vectors but for the very last."""
    length = CHUNK * max(1, size // (CHUNK * MANY))
    return task * length, min(size, (task + 1) * length)


def task_rows(shape: Shape, itemsize: int) -> int:
    """Rows of images of `shape` that make a task."""
    row = max(1, shape[2] * shape[3]) * itemsize
    return max(1, TASK_BYTES // row, shape[0] * shape[1] // MANY)


def even_share(total: int, largest: int, multiple: int = 1) -> int:
    """Items of one task, `largest` at most, such that tasks are nearly alike and their number a `multiple`."""
    tasks = -(-total // largest)
    tasks = -(-tasks // multiple) * multiple
    return max(1, -(-total // max(1, tasks)))
