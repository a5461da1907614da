"""`python -m nxt`: the command line."""

from nxt.cli.main import main

if __name__ == "__main__":
    main()
