"""Packages that only some rooms need."""

from __future__ import annotations

import importlib


def require(user: str, extra: str, *packages: str) -> None:
    """Makes sure that packages are here which are installed with an extra of this one.

    Raises:
        ImportError: one cannot be imported; names it, who needs it, and the extra.

    Example:
        >>> require("the example", "report", "json")
    """
    for name in packages:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise ImportError(
                f"{user} needs {', '.join(packages)}, but {name} cannot be imported ({error}); "
                f"install the extra: pip install 'dissect-units[{extra}]'"
            ) from error
