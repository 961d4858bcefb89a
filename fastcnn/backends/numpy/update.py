"""The optimizers' updates in NumPy: parameters and what an optimizer keeps for them change in place.

Sources and meaning: :mod:`fastcnn.backends`.
"""

from __future__ import annotations

import math

import numpy as np


def sgd_update(parameter: np.ndarray, gradient: np.ndarray, rate: float, keep: float) -> None:
    parameter *= keep
    parameter -= rate * gradient


def momentum_update(
    parameter: np.ndarray,
    gradient: np.ndarray,
    velocity: np.ndarray,
    rate: float,
    momentum: float,
    scale: float,
    decay: float,
    nesterov: bool,
) -> None:
    slope = scale * gradient + decay * parameter
    velocity *= momentum
    velocity += slope
    parameter -= rate * (slope + momentum * velocity if nesterov else velocity)


def rmsprop_update(
    parameter: np.ndarray,
    gradient: np.ndarray,
    square: np.ndarray,
    rate: float,
    rho: float,
    epsilon: float,
    scale: float,
    decay: float,
) -> None:
    slope = scale * gradient + decay * parameter
    square *= rho
    square += (1 - rho) * slope * slope
    parameter -= rate * (slope / (np.sqrt(square) + epsilon))


def adam_update(
    parameter: np.ndarray,
    gradient: np.ndarray,
    mean: np.ndarray,
    square: np.ndarray,
    step: int,
    rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    scale: float,
    decay: float,
    keep: float,
) -> None:
    slope = scale * gradient + decay * parameter
    mean *= beta1
    mean += (1 - beta1) * slope
    square *= beta2
    square += (1 - beta2) * slope * slope
    parameter *= keep
    root = np.sqrt(square) / math.sqrt(1 - beta2**step) + epsilon
    parameter -= rate / (1 - beta1**step) * (mean / root)
