"""``python -m ganfast``."""

from ganfast.cli import main

if __name__ == "__main__":
    main()
