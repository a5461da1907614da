"""The command line: parse, call nxt, render. Installed as `nxt.cli`."""
