"""The text of docs/experiments.md."""


def page(importance, sets, example, pictures) -> str:
    return ""
