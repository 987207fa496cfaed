"""The commands ``dissect rating``: what people call units, and what they say of labels and of units that changed."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dissect.arguments import integer, refusal, result_file, seed_number
from dissect.cli.pages import add_result_arguments
from dissect.table import Table
from dissect.text import json_text, shown


def add_commands(commands: Any) -> None:
    """Adds the commands to the parser of their group."""
    for name, text, add, command in (
        ("name", "write the page on which people name units", _add_page_arguments, name_page),
        ("names", "what people call units, and the dissection", _add_names_arguments, names_read),
        ("page", "write the page on which people say whether labels fit", _add_rating_arguments, rating_page),
        ("read", "how many labels fit, and how far people agree", _add_read_arguments, ratings_read),
        ("changes", "write the page on which people sort units that changed", _add_changes_arguments, changes_page),
        ("changed", "how people and a proxy sort units that changed", _add_answers_arguments, changes_read),
    ):
        own = commands.add_parser(name, help=text)
        add(own)
        own.set_defaults(command=command)


def _add_page_arguments(parser: argparse.ArgumentParser) -> None:
    add_result_arguments(parser)
    parser.add_argument("--units", nargs="+", type=int, metavar="U", help="of --layer (all of all layers)")
    parser.add_argument("--images", type=int, default=15, help="of each unit, at most (15)")
    parser.add_argument("--seed", type=int, default=0, help="of the order (0)")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder, or a file that ends in .html (out)")


def _add_rating_arguments(parser: argparse.ArgumentParser) -> None:
    _add_page_arguments(parser)
    parser.add_argument(
        "--names", nargs="+", type=Path, metavar="FILE", help="the key of a page of names, and answers: mixed in"
    )


def _add_changes_arguments(parser: argparse.ArgumentParser) -> None:
    _add_page_arguments(parser)
    parser.add_argument("--after", type=Path, required=True, help="the same layers later, another .dissection")


def _add_answers_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("key", type=Path, help="the file beside the page")
    parser.add_argument("answers", nargs="+", type=Path, help="files that people saved from it")
    parser.add_argument("--json", action="store_true", help="for programs")


def _add_names_arguments(parser: argparse.ArgumentParser) -> None:
    _add_answers_arguments(parser)
    parser.add_argument("--share", type=float, default=0.5, help="of the answers that must have a name (0.5)")
    parser.add_argument("--result", type=Path, help="the dissection, whose labels are put beside the names")


def _add_read_arguments(parser: argparse.ArgumentParser) -> None:
    _add_answers_arguments(parser)
    parser.add_argument("--among", metavar="METHOD", help="count only units of which a label of this one fits: people")


def name_page(options: argparse.Namespace) -> int:
    """Writes the page on which people name units."""
    from dissect.report import write_naming

    return _told(write_naming(_result(options.result), options.out, **_asked(options)))


def rating_page(options: argparse.Namespace) -> int:
    """Writes the page on which people say whether labels fit."""
    from dissect.report import read_names, write_rating

    labels = None
    if options.names is not None:
        rows = read_names(*options.names)
        labels = {"people": {(row.layer, row.unit): row.name for row in rows if row.agreed}}
    return _told(write_rating(_result(options.result), options.out, labels=labels, **_asked(options)))


def names_read(options: argparse.Namespace) -> int:
    """Prints what people call units, and beside it what the dissection does."""
    from dissect.report import compare_names, read_names

    names = read_names(options.key, *options.answers, share=options.share)
    tables: dict[str, Any] = {"names": names}
    if options.result is not None:
        tables["compared"] = compare_names(names, _result(options.result))
    return _printed(tables, options.json)


def ratings_read(options: argparse.Namespace) -> int:
    """Prints how many labels fit, and how far people agree."""
    from dissect.report import read_ratings

    found = read_ratings(options.key, *options.answers)
    tables = {"labels": found.labels(), "validity": found.validity(options.among), "agreement": found.agreement()}
    return _printed(tables, options.json)


def changes_page(options: argparse.Namespace) -> int:
    """Writes the page on which people sort units that changed."""
    from dissect.report import write_changes

    return _told(write_changes(_result(options.result), _result(options.after), options.out, **_asked(options)))


def changes_read(options: argparse.Namespace) -> int:
    """Prints how people and a proxy sort units that changed."""
    from dissect.report import read_changes

    found = read_changes(options.key, *options.answers)
    tables: dict[str, Any] = {"units": found.units, "types": found.types(), "proxy": Table([found.proxy_agreement()])}
    return _printed(tables | {"raters": Table([found.raters])}, options.json)


def _result(path: Path) -> Any:
    import dissect

    return dissect.Dissection.load(result_file(path, ".dissection"))


def _asked(options: argparse.Namespace) -> dict[str, Any]:
    """What both pages are asked for."""
    if options.units is not None and options.layer is None:
        raise refusal(ValueError("--layer must be given with --units."))
    d = _result(options.result)
    units = None
    if options.layer is not None:
        units = {options.layer: range(d[options.layer].num_units) if options.units is None else options.units}
    return {"units": units, "images": integer("--images", options.images), "seed": seed_number(options.seed, "--seed")}


def _told(written: Any) -> int:
    print(f"page: {shown(written.page)}\nkey, which stays with you: {shown(written.key)}")
    return 0


def _printed(tables: dict[str, Any], as_json: bool) -> int:
    if as_json:
        print(json_text({name: [row._asdict() for row in table] for name, table in tables.items()}))
    else:
        print("\n\n".join(str(table) for table in tables.values()))
    return 0
