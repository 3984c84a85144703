"""The options that name an imported tower, and the tower that they give."""

import pytest
import torch
from formats import saved
from pydantic import ValidationError

from sensorium import importing, towers_imported
from sensorium.encoders.imported import Spec
from sensorium.errors import RecipeError, UserError
from sensorium.recipe import load
from sensorium.recipe import member as member_of


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """The facts of a CLIP's text tower, kept in a cache of this file's own."""
    place = tmp_path_factory.mktemp("imported")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SENSORIUM_CACHE", str(place / "cache"))
        made = importing.tower(saved.clip(place / "clip"), "text")
        yield towers_imported.facts(made.name)


def options(kept, **changes):
    return towers_imported.preparing(kept, 24, "causal") | changes


def test_options_say_what_is_known_without_weights(kept):
    _, spec = member_of("encoders", "prepare.text", options(kept))
    assert isinstance(spec, Spec)
    assert (spec.use, spec.width, spec.order) == ("imported", 24, "causal")
    assert spec.sha256 == kept["weight_hash"]
    assert spec.licence == "not stated"
    with pytest.raises(ValidationError):
        Spec(name="clip-text-0123456789ab", sha256="0" * 64)  # of which width?


def test_the_tower_is_the_one_that_importing_gives(kept):
    from reference import text_look

    made = importing.kept(kept["name"])
    module = towers_imported.load(options(kept), made.reader())
    look = text_look(torch.randint(4, 300, (3, 8)), torch.ones(3, 8, dtype=torch.bool))
    with torch.no_grad():
        ours, theirs = (x.encode(x.embed(look)).pooled for x in (module, made.load()))
    assert torch.equal(ours, theirs)
    assert ours.shape == (3, 24)


@pytest.mark.parametrize("changes", [{"sha256": "0" * 64}, {"name": "clip-text-0123456789ab"}])
def test_other_weights_are_never_taken(kept, changes):
    for ask in (
        lambda: towers_imported.weight_hash(options(kept, **changes)),
        lambda: towers_imported.load(options(kept, **changes), None),
    ):
        with pytest.raises(UserError, match="is not in the cache") as caught:
            ask()
        assert caught.value.see.startswith("sensorium cache import")
        assert caught.value.see.endswith("/clip --part text")


@pytest.mark.parametrize("name", ["../../etc", "clip/text", "", "."])
def test_a_name_leads_nowhere_else(name, kept):
    assert towers_imported.facts(name) is None


def test_it_stays_frozen(kept):
    """Named as an encoder that trains, it is refused with the place where it belongs."""
    from sensorium.building import build

    recipe = load("clip", "tiny")
    recipe = recipe.model_copy(update={"encoders": recipe.encoders | {"text": options(kept)}})
    with pytest.raises(RecipeError, match="stays frozen") as caught:
        build(recipe)
    assert caught.value.see == "prepare.text"
