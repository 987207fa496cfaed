"""The seed of what tests draw."""

import torch


def seed(number: int) -> None:
    """As torch.manual_seed, which for a GPU that was never asked for notes the whole stack, three times."""
    torch.default_generator.manual_seed(number)
    if torch.cuda.is_available():
        torch.cuda.manual_seed_all(number)
