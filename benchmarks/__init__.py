"""The asv suite, its dashboard and its commands: ``python -m benchmarks`` lists them; docs/benchmarks.md explains them.

asv imports every module of this package in the environment of the commit that it measures, where nothing is installed
but fastcnn and the pins of asv.conf.json. What needs more, asv or the newest fastcnn, is in folders without
``__init__.py``: it leaves those alone.
"""
