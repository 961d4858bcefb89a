"""Sphinx: the guides of this folder and the reference from the docstrings, `python -m sphinx -W docs docs/_build`."""

from fastcnn import __version__

project, author, release = "fastcnn", "the maintainers of fastcnn", __version__
extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "myst_parser"]
exclude_patterns = ["_build"]
html_theme = "alabaster"
default_role = "code"  # `name` in a docstring

napoleon_google_docstring = False
napoleon_use_param = False  # the type of a parameter is text: `layer` names no class
napoleon_use_rtype = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_preserve_defaults = True

myst_heading_anchors = 3
