"""`python -m toolrest.estimate`, which is `toolrest estimate`."""

import sys

from toolrest.estimate.show import main

if __name__ == "__main__":
    from toolrest.io.terminal import keep_streams

    keep_streams()
    main(sys.argv[1:])
