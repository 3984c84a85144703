"""What tests of the engine share: a small world, and one finished comparison over it."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))  # `small`; last, for it holds a conftest too


@pytest.fixture(scope="session")
def small_world(tmp_path_factory):
    """The folder of a world of 140 scenes: two things, twins of their captions. Read only."""
    from sensorium.world import _making, _setting

    folder = tmp_path_factory.mktemp("worlds") / "binding"
    _making.make(_setting.load("binding", []), 140, 5, folder)
    return folder


@pytest.fixture(scope="module")
def own_cache(tmp_path_factory):
    """A cache of the module's own, in which pictures are kept; and one thread, as runs have."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        place = tmp_path_factory.mktemp("cache")
        patch.setenv("SENSORIUM_CACHE", str(place))
        yield place
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def finished(small_world, tmp_path_factory):
    """A finished comparison with sweep, controls and further outcomes: (plan, folder, result).
    Read only; copy it to change it."""
    import small

    from sensorium.comparison import conduct, pool

    plan = small.plan(
        small_world,
        also=["retrieval:text_to_image@5", "probe:fact.colour_1"],
        controls=["shuffled", "untrained", "only:image"],
        sweep={"learning_rate": [1e-3, 3e-3]},
    )
    folder = tmp_path_factory.mktemp("comparisons") / "finished"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SENSORIUM_CACHE", str(folder.parent / "cache"))
        patch.setattr(pool, "_processes", small.in_turn)
        result = conduct.compare(plan, folder)
    return plan, folder, result
