"""`python -m nxt` is the command line."""

from importlib import import_module

if __name__ == "__main__":  # processes that read images import this file, too
    import_module("nxt.cli.main").program()  # the folder cli/ becomes nxt.cli when nxt is installed
