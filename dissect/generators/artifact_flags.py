"""Units that a person has flagged on a page (`dissect.report.write_flagging`)."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

from dissect.files.checked import Each, Maybe, Text, Whole, fields, named, require

#: What files of flags say that they are.
KIND = "dissect unit flags"


class UnitFlags(tuple[int, ...]):
    """Units that a person flagged, rising.

    Attributes:
        layer: whose they are; None where the file does not tell.
        weights: the network's fingerprint; None where the file does not tell.
        num_units: of how many; None where the file does not tell.

    Example: see `read_flags`.
    """

    layer: str | None
    weights: str | None
    num_units: int | None


def read_flags(path: str | Path) -> UnitFlags:
    r"""Reads the flags that a page of `dissect.report.write_flagging` exported, JSON or CSV; or a list made by hand.

    A CSV file has the columns "unit" and "flagged" (1 or 0), and may have "layer" and "weights".

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file that holds something else; names it.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "flags.csv"
        ...     _ = path.write_text("unit,flagged\n0,1\n1,0\n7,1\n")
        ...     read_flags(path), read_flags(path).layer
        ((0, 7), None)
    """
    path = Path(path)
    with named(path):
        text = path.read_text("utf-8-sig")
        found = _of_table(text) if path.suffix.lower() == ".csv" else _of_json(text)
        what = str(path)
        rules = {"flags": Each(Whole(), different=True), "layer": Maybe(Text()), "weights": Maybe(Text())}
        fields(what, found, rules | {"units": Maybe(Whole(1))})
        units = found.get("units")
        require(what, units is None or all(unit < units for unit in found["flags"]), "flagged units are there")
    flags = UnitFlags(sorted(found["flags"]))
    flags.layer, flags.weights, flags.num_units = found.get("layer"), found.get("weights"), units
    return flags


def _of_json(text: str) -> dict[str, Any]:
    found = json.loads(text)  # whose errors are ValueErrors
    if not isinstance(found, dict) or found.get("kind") != KIND:
        raise ValueError(f'flags must be an object of the kind "{KIND}", as the page exports it.')
    return found


def _of_table(text: str) -> dict[str, Any]:
    rows = list(csv.DictReader(io.StringIO(text)))
    if not rows or not {"unit", "flagged"} <= rows[0].keys():
        raise ValueError('flags must have the columns "unit" and "flagged", and at least one row.')
    if any(row["flagged"] not in ("0", "1") or not str(row["unit"]).isdecimal() for row in rows):
        raise ValueError('flags must have a number in each row\'s "unit", and 0 or 1 in "flagged".')
    told = {name: {row[name] for row in rows} for name in ("layer", "weights") if name in rows[0]}
    if any(len(values) > 1 for values in told.values()):
        raise ValueError("flags must be of one layer of one network.")
    return {name: next(iter(values)) or None for name, values in told.items()} | {
        "flags": [int(row["unit"]) for row in rows if row["flagged"] == "1"]
    }
