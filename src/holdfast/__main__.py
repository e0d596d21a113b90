"""The command. An installation for the client alone lacks what it needs, and is told so."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; status 1 and a sentence where its libraries are not installed."""
    try:
        from holdfast.cli.main import main as run  # noqa: PLC0415
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] == "holdfast":
            raise
        sys.exit(
            f"holdfast: {missing.name} is not installed. Only `holdfast.client` was: "
            "python -m pip install 'holdfast[server]' has the rest."
        )
    run()


if __name__ == "__main__":
    main()
