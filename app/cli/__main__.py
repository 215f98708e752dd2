"""Entry point of `python -m app.cli`."""

from .main import main

if __name__ == "__main__":
    main()
