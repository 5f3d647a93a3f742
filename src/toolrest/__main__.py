"""`python -m toolrest` is `toolrest`."""

from toolrest.cli.main import main

main()
