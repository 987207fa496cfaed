"""How far several people agree who judged the same things."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from dissect.arguments import refusal, speaks


class RaterAgreement(NamedTuple):
    """How far raters agree.

    Attributes:
        items: how many were judged by two raters or more; the others tell nothing.
        agreement: the share of pairs of judgements of one item that are the same; None without such items.
        alpha: Krippendorff's, 1 for full agreement and 0 for that of chance; None where all judgements are the same, so
            that there is no chance to compare with.
    """

    items: int
    agreement: float | None
    alpha: float | None


@speaks
def rater_agreement(counts: Tensor) -> RaterAgreement:
    """Agreement of raters on values without an order, of whom not each has judged each item (Krippendorff 2011).

    With n_iv raters who gave item i the value v, n_i all of it (at least 2), n_v all of a value and n all::

        Do = 1 - sum_iv n_iv (n_iv - 1) / (n_i - 1) / n
        De = 1 - sum_v n_v (n_v - 1) / (n (n - 1))
        alpha = 1 - Do / De

    Args:
        counts: [I, V] integers, at least 0: how many raters gave each item each value.

    Raises:
        TypeError, ValueError: other counts.

    Example:
        >>> dissect.stats.rater_agreement(torch.tensor([[2, 0], [0, 2], [1, 1]])).agreement
        0.6666666666666666
    """
    if not isinstance(counts, Tensor) or counts.is_floating_point() or counts.is_complex():
        raise refusal(TypeError("counts must be a tensor of integers."))
    if counts.ndim != 2 or bool((counts < 0).any()):
        raise refusal(ValueError(f"counts must be [I, V], at least 0, but are {list(counts.shape)}."))
    kept = counts[counts.sum(1) >= 2].double()
    if not len(kept):
        return RaterAgreement(0, None, None)
    raters, same = kept.sum(1), (kept * (kept - 1)).sum(1)
    pairs = raters * (raters - 1)
    values, total = kept.sum(0), kept.sum()
    expected = 1 - (values * (values - 1)).sum() / (total * (total - 1))
    observed = 1 - (same / (raters - 1)).sum() / total
    alpha = None if int((values > 0).sum()) < 2 else float(1 - observed / expected)
    return RaterAgreement(len(kept), float(same.sum() / pairs.sum()), alpha)
