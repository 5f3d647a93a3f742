"""`python -m toolrest` is `toolrest`."""

import sys


def main() -> None:
    """Entry point of the console script; an interrupt while it begins is no traceback."""
    try:
        from toolrest.cli.main import main as begin
    except KeyboardInterrupt:
        from toolrest.io.terminal import say

        say("stopped before anything was done", err=True)
        sys.exit(130)
    begin()


if __name__ == "__main__":
    main()
