"""Maxima and means of windows, on `core`. Requires numba.

- `arguments`: what pooling takes; `spans`: which pixels of a window exist; `select`: vectors chosen lane by lane, and
  the offsets that say what was chosen
- `forward`, `gradient`: of windows; `lines`: those in a row, forward; `gradient_3_by_2`: of those that are 3 x 3 and
  two apart; `global_average`: of the whole image; `resample`: images of another size
"""
