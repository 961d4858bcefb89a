"""`fit`: its arguments, and how a training starts. The loop itself is in :mod:`fastcnn.training.loop`."""

import contextlib
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastcnn import streams
from fastcnn.arrays import warn_of_channels_first
from fastcnn.augmentation import Augmentation, is_mapped, ready
from fastcnn.backends.active import compilation_announced
from fastcnn.distributed.group import Group
from fastcnn.metrics import check_metrics
from fastcnn.network import Network
from fastcnn.optimizers import Optimizer
from fastcnn.saving import model_file
from fastcnn.shapes import check_flag, check_int, check_path, must_be
from fastcnn.training import arguments, checkpoint
from fastcnn.training.callbacks import Callback
from fastcnn.training.data_parallel.loop import DistributedLoop
from fastcnn.training.loop import Loop
from fastcnn.training.run import History


def fit(  # noqa: PLR0913 - the arguments of `Sequential.fit`
    model: Network,
    x: Any,
    y: Any,
    epochs: int = 1,
    batch_size: int = 64,
    validation_data: tuple[Any, Any] | None = None,
    *,
    optimizer: str | Optimizer = "sgd",
    learning_rate: float | Callable[[float], float] | None = None,
    weight_decay: float | None = None,
    shuffle: bool = True,
    seed: int | None = None,
    augmentation: Augmentation | None = None,
    class_weight: Any = None,
    label_smoothing: float = 0.0,
    metrics: Any = (),
    callbacks: Sequence[Callback] = (),
    resume: Any = None,
    failure_file: Any = "fastcnn-failure.npz",
    verbose: bool = True,
    distributed: Any = None,
    sync_batch_norm: bool = False,
    validation_batch_size: int = 256,
) -> History:
    """Train on labelled images.

    Parameters
    ----------
    x : (images, height, width, channels) array of any real dtype
    y : (images,) or (images, 1) integer labels
    epochs, batch_size : int
        Every image is used once in an epoch; the last, smaller batch too.
    validation_data : (x, y), optional
        Evaluated after each epoch.
    optimizer : str or Optimizer
        'sgd', 'momentum', 'nesterov', 'rmsprop', 'adam', 'adamw', or an optimizer over this model, which then has the
        rate and the decay.
    learning_rate : float or callable, optional
        Of the mean loss of a batch, so that it suits any batch size; by default that of the optimizer, 0.1 for 'sgd'.
        A callable gets the share of the training that is done, from 0 to below 1, before each step and returns that
        step's rate; see :mod:`fastcnn.schedules`.
    weight_decay : float, optional
        Of the L2 penalty ``weight_decay / 2 * sum(p ** 2)`` on the mean loss, as in PyTorch; AdamW decays apart.
    shuffle, seed :
        Whether images are put in a new order for each epoch, and the seed of those orders and of `augmentation`.
    augmentation : Augmentation, optional
        Random shifts, mirror images and crops of the training images.
    class_weight : dict or (classes,) array, optional
        How much the loss of an image of each class counts; 1 for classes that a dict does not name. 'balanced' gives
        all classes the same share, whatever number of images they have.
    label_smoothing : float
        See :meth:`Softmax.cal_loss`. The validation loss is that without weights and smoothing.
    metrics : list of str or callables, or dict of callables
        More quantities of the validation data for each epoch, `val_<name>`; see :mod:`fastcnn.metrics`.
    callbacks : list of Callback
        Checkpoints, early stopping, logs; see :mod:`fastcnn.callbacks`.
    resume : path, optional
        A checkpoint of a run with the same arguments, data and model, which goes on from there to bitwise the same
        weights as if it had never been interrupted.
    failure_file : path, optional
        Written where the loss becomes NaN or infinite: what reproduces it, see :mod:`fastcnn.diagnosis`. None for none.
    verbose : bool
        A progress bar with loss, accuracy and images/s where stderr is a terminal, and a line for each epoch.
    distributed : communicator of mpi4py, optional
        Its ranks, which all call this with the same arguments, train one model together; see
        :mod:`fastcnn.distributed`. `batch_size` is that of all ranks together.
    sync_batch_norm : bool
        Whether BatchNorm has the statistics of the whole batch, as without `distributed`, and not of each rank's shard.
    validation_batch_size : int
        How many images of the validation data are computed at once, on each rank. Their sums may differ in the last
        bits with it.

    Ctrl-C ends the training after the present step: checkpoints are written, and the history so far is returned. A
    second one raises KeyboardInterrupt at once. SIGTERM and SIGHUP end it in the same way, and then the process, by
    SystemExit with the status 143 or 129. Signals that are ignored or that a script handles itself are left alone.

    Returns
    -------
    History
        For each epoch `loss` and `accuracy` (running means over the epoch, as the weights change), `seconds`,
        `images_per_second`, and `val_loss` and `val_accuracy` where there is validation data; a dict of lists.

    Raises
    ------
    ValueError, TypeError
        Bad arguments or data; nothing has been trained then.
    FloatingPointError
        The loss or a parameter became NaN or infinite; the message names the first layer and array.
    """

    def checked() -> Loop:
        arguments.check_augmentation("fit", model, augmentation)
        images, labels = arguments.take_images(model, "fit", x, y, augmentation, group)
        validation = None
        if validation_data is not None:
            validation = arguments.take_validation(model, validation_data, augmentation, group)
        elif metrics:
            raise ValueError(must_be("fit", "metrics", "empty without validation_data, of which they are", metrics))
        sorted_callbacks = arguments.check_callbacks(callbacks)
        return (Loop if group.size == 1 else DistributedLoop)(
            model=model,
            optimizer=arguments.check_optimizer(model, optimizer, learning_rate, weight_decay),
            x=images if augmentation is None or is_mapped(images) else ready(images, model.loss_layer.dtype),
            y=labels,
            epochs=check_int("fit", "epochs", epochs),
            batch_size=check_int("fit", "batch_size", batch_size),
            validation_data=validation,
            shuffle=check_flag("fit", "shuffle", shuffle),
            seed=arguments.draw_seed() if seed is None else check_int("fit", "seed", seed, 0, largest=math.inf),
            augmentation=augmentation,
            loss_options=arguments.check_loss_options(model, labels, class_weight, label_smoothing),
            metrics=check_metrics("fit", metrics),
            callbacks=sorted_callbacks,
            failure_file=arguments.check_failure_file(failure_file, resume, sorted_callbacks),
            verbose=check_flag("fit", "verbose", verbose),
            sync_batch_norm=check_flag("fit", "sync_batch_norm", sync_batch_norm),
            validation_batch_size=check_int("fit", "validation_batch_size", validation_batch_size),
            group=group,
        )

    with streams.guarded(), Group.of("fit", distributed) as group, contextlib.ExitStack() as stack:
        if isinstance(verbose, int | np.bool_) and verbose and group.lead:  # what it is instead is told below
            stack.enter_context(compilation_announced())
        run = group.together(checked)
        run.agree_on_arguments(any_seed=seed is None)
        if group.broadcast(resume is not None or any(callback.saves for callback in run.callbacks)):
            run.settings = checkpoint.settings(run)
        if group.broadcast(resume is not None):
            file = group.on_lead(lambda: model_file.read(check_path("fit", "resume", resume)))
            group.together(lambda: checkpoint.resume(run, file, any_seed=seed is None))
        arguments.learn_range(model, x, run.validation_data, group, run.is_new)
        warn_of_channels_first("fit", "x", run.x.shape)
        arguments.warn_of_empty_class(run.y, model.loss_layer.input_shape[1])
        run.optimizer.clear_gradients()
        run.train()
    return run.history
