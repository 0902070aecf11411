"""`python -m serve_app.cli`, which `./recado` hands over to."""

from serve_app.cli import main

if __name__ == "__main__":
    main()
