"""``python -m chatbox``."""

from chatbox.cli import main

main()
