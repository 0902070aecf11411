from __future__ import annotations

import importlib.util
import sys

NEEDED = {
    "torch": "torch",
    "transformers": "transformers",
    "pydantic": "pydantic",
    "pydantic_settings": "pydantic-settings",
    "structlog": "structlog",
}
"""Modules and the packages that bring them. Recado's other requirements aren't asked for here."""


def main() -> int:
    missing = [
        package for module, package in NEEDED.items() if importlib.util.find_spec(module) is None
    ]
    if missing:
        sys.stderr.write(
            f"the engine check needs {', '.join(missing)}: pip install {' '.join(missing)}\n"
        )
        return 2
    from serve_app.engines.check.command import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
