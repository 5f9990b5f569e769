import sys

from tests.schedules.campaign import main

if __name__ == "__main__":
    sys.exit(main())
