"""The `recado` command. Nothing heavy is imported before a command needs it."""


def main() -> None:
    """Entry point of the console script and of `python -m serve_app.cli`."""
    from serve_app.cli.app import run

    run()
