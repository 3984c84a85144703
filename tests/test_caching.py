"""A cache appends by site and place, and its rows follow an index."""

import torch
from torch import nn

from sensorium.caching import Cache


def numbered(*values: int) -> tuple[torch.Tensor]:
    """Two rows: the numbers, and the same with 100 added."""
    return (torch.tensor([values, [x + 100 for x in values]], dtype=torch.int64).view(2, -1),)


def test_it_appends_along_tokens_for_each_site_and_place():
    cache, one, two = Cache(), nn.Identity(), nn.Identity()
    assert cache.extend(one, "", numbered(1, 2), 1)[0].tolist() == [[1, 2], [101, 102]]
    assert cache.extend(one, "", numbered(3), 1)[0].tolist() == [[1, 2, 3], [101, 102, 103]]
    assert cache.extend(one, "there", numbered(7), 1)[0].tolist() == [[7], [107]]
    assert cache.extend(two, "", numbered(8), 1)[0].tolist() == [[8], [108]]
    assert cache.extend(one, "", numbered(), 1)[0].tolist() == [[1, 2, 3], [101, 102, 103]]


def test_rows_follow_an_index_everywhere():
    cache, site = Cache(), nn.Identity()
    cache.extend(site, "a", numbered(1, 2), 1)
    cache.extend(site, "b", (torch.arange(8.0).view(2, 1, 4, 1), torch.ones(2, 1, 4, 1)), 2)
    cache.reorder(torch.tensor([1, 0, 1]))
    nothing = torch.zeros(3, 0, dtype=torch.int64)
    assert cache.extend(site, "a", (nothing,), 1)[0].tolist() == [[101, 102], [1, 2], [101, 102]]
    keys, values = cache.extend(site, "b", (torch.zeros(3, 1, 0, 1),) * 2, 2)
    assert keys[:, 0, :, 0].tolist() == [[4, 5, 6, 7], [0, 1, 2, 3], [4, 5, 6, 7]]
    assert values.shape == (3, 1, 4, 1)


def test_what_was_given_is_not_changed_in_place():
    cache, site = Cache(), nn.Identity()
    first = cache.extend(site, "", numbered(1), 1)[0]
    cache.extend(site, "", numbered(2), 1)
    assert first.tolist() == [[1], [101]]
