"""``python -m chatbox``."""

from chatbox.cli import main

if __name__ == "__main__":
    main()
