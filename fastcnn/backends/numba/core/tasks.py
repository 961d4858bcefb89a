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
from fastcnn.backends.numba.core.jit import COUNTERS, LINE, LOOP, TASK_BITS, THREAD_BITS, inline, serial, single

CHUNK = 16384  # elements of one task of a flat array at least: 64 KiB of float32, long enough to hide the launch
TASK_BYTES = 48 << 10  # of an image at least, where a task is some of its rows: 3 us, as each costs 0.1 us by itself
MANY = 128  # tasks, with which any number of threads end together
INTEGER = ir.IntType(64)
LOOP_TYPE = ir.FunctionType(ir.VoidType(), [INTEGER] * 3).as_pointer()  # of `jit.call_on_threads`


@inline
def parts_of(tasks):
    """The number of tasks, of threads or 0 for the caller's alone, and of this thread: see `jit.TASK_BITS`."""
    threads = tasks >> TASK_BITS & (1 << THREAD_BITS) - 1
    return tasks & (1 << TASK_BITS) - 1, threads, max(0, (tasks >> TASK_BITS + THREAD_BITS) - 1)


def counters_of(builder: ir.IRBuilder) -> ir.Value:
    """The address of `jit.COUNTERS`."""
    found = builder.module.globals.get(COUNTERS) or ir.GlobalVariable(builder.module, INTEGER, COUNTERS)
    return builder.bitcast(found, INTEGER.as_pointer())


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
        array.meminfo, array.parent = (ir.Constant(field.type, None) for field in (array.meminfo, array.parent))
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
    """Whether `tasks` asks for threads: the kernel that this stands in, whose `arguments` these are, has then been
    called again on each of them.

    All kernels use one ``prange``, that of `jit.call_on_threads`, to which one function of two integers is like
    another: with a ``prange`` in each, and code for threads and for none, the first LeNet step took 23 s and not 12.
    """

    def one_thread(context, kernel, memory):
        """A function that calls `kernel`, of the address of its arguments, like `memory`, and a thread's number."""
        kind, name = ir.FunctionType(ir.VoidType(), [INTEGER, INTEGER]), kernel.module.get_unique_name("one_thread")
        function = ir.Function(kernel.module, kind, name)
        function.linkage = "internal"
        builder = ir.IRBuilder(function.append_basic_block())
        place = builder.inttoptr(function.args[0], memory.type)
        *values, tasks = (builder.load(cgutils.gep_inbounds(builder, place, 0, i)) for i in range(len(arguments) + 1))
        thread = builder.shl(builder.add(function.args[1], INTEGER(1)), INTEGER(TASK_BITS + THREAD_BITS))
        values, given = [*values, builder.or_(tasks, thread)], (*arguments, types.int64)
        context.call_conv.call_function(builder, kernel, types.none, given, values)
        builder.ret_void()
        return function

    def codegen(context, builder, signature, args):
        threads = builder.lshr(args[1], INTEGER(TASK_BITS))  # with a thread's number, more than there can be
        asked = builder.icmp_unsigned("<", builder.sub(threads, INTEGER(1)), INTEGER((1 << THREAD_BITS) - 1))
        with builder.if_then(asked):
            cgutils.memset(builder, counters_of(builder), builder.mul(threads, INTEGER(LINE * 8)), 0)
            values = cgutils.unpack_tuple(builder, args[0], len(arguments))
            memory = cgutils.alloca_once_value(builder, cgutils.pack_struct(builder, [*values, args[1]]))
            function = one_thread(context, builder.function, memory)
            loop = builder.load(cgutils.add_global_variable(builder.module, LOOP_TYPE, LOOP))
            builder.call(loop, [builder.ptrtoint(pointer, INTEGER) for pointer in (function, memory)] + [threads])
        return asked

    return types.boolean(arguments, types.int64), codegen


KERNEL = """
def {name}({parameters}, tasks):
    arguments = borrowed(({parameters},))
    if launched(arguments, tasks):
        return
    {parameters}, = arguments
    all_tasks, threads, thread = parts_of(tasks)
    task, first = next_task(np.int64(-1), all_tasks, threads, thread), True
    while task < all_tasks:
        work({arguments})
        task, first = next_task(task, all_tasks, threads, thread), False
"""


def task_kernel(function: Callable) -> Callable:
    """Compile a loop over all tasks around ``function(task, thread, first, ...)``, the work of one task.

    Launch it by ``name(..., tasks, work=, threads=)``: what `function` takes apart from the number of the task and,
    where it asks for them, that of the thread, and whether this is the thread's first task; then how many tasks there
    are. For `work` and `threads` see `jit.launcher`.

    An argument whose annotation is a NamedTuple is launched as a plain tuple, which the loop names: a NamedTuple from
    Python takes numba 1.5 us longer. In compiled code, naming costs nothing.
    """
    hints, names = typing.get_type_hints(function), list(inspect.signature(function).parameters)
    named = {name: hint for name, hint in hints.items() if issubclass(hint, tuple)}
    passed = ", ".join(f"{named[name].__name__}(*{name})" if name in named else name for name in names)
    parameters = ", ".join(name for name in names if name not in ("task", "thread", "first"))
    scope: dict[str, Any] = {hint.__name__: hint for hint in named.values()} | {"__name__": function.__module__}
    scope |= {"np": np, "borrowed": borrowed, "launched": launched, "parts_of": parts_of, "next_task": next_task}
    scope["work"] = inline(function)  # as a function of its own the first LeNet step took 13 s to compile, and not 12
    source = KERNEL.format(name=function.__name__, parameters=parameters, arguments=passed)
    exec(compile(source, function.__code__.co_filename, "exec"), scope)
    return jit.launcher(function, single(scope[function.__name__]))


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
