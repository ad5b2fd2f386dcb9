"""``python -m gatework``: the command line where no script of that name is on the path."""

from gatework.cli.main import run

run()
