"""Maxima and means of windows, on `core`. Requires numba.

- `arguments`: what pooling takes; `select`: vectors chosen lane by lane, and the offsets that say what was chosen
- `forward`, `gradient`: of windows; `global_average`: of the whole image
"""
