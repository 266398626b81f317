"""``python -m xtrkit`` is the command ``xtrkit``."""

from xtrkit.cli import main

main()
