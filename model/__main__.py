"""`python -m model` is the `model` command."""

from model.cli import main

main()
