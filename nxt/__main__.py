"""`python -m nxt` is the command line."""

from importlib import import_module

import_module("nxt.cli.main").main()  # the folder cli/ becomes nxt.cli when nxt is installed
