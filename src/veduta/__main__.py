"""``python -m veduta`` is the same as ``veduta``."""

from veduta.cli import main

if __name__ == "__main__":
    main()
