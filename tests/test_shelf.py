"""The folder is the registry: names come from files, nothing is imported to list them."""

import subprocess
import sys

import pytest

from sensorium import shelf
from sensorium.errors import RecipeError, UserError


def test_listing_imports_nothing():
    code = (
        "import sys; from sensorium import shelf\n"
        "for kind in shelf.SHELVES:\n"
        "    for name in shelf.names(kind):\n"
        "        kind == 'recipes' or shelf.summary(kind, name)\n"
        "print([m for m in sys.modules if m.startswith(('torch', 'numpy', 'pydantic'))])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_unknown_names_get_the_nearest():
    with pytest.raises(RecipeError) as caught:
        shelf.load("objectives", "contrastiv")
    assert caught.value.nearest == "contrastive"
    with pytest.raises(UserError):
        shelf.names("objectivs")


@pytest.mark.parametrize(
    "name", ["../errors", "os", "a.b", "contrastive ", "Contrastive", "", "_rows"]
)
def test_a_name_cannot_leave_its_shelf(name):
    with pytest.raises(RecipeError):
        shelf.load("objectives", name)
    with pytest.raises(RecipeError):
        shelf.path("layouts", name)


def test_options_equal_the_spec():
    """What is read from the source is what pydantic knows."""
    for kind in ("objectives", "encoders", "fusion", "modalities"):
        for name in shelf.names(kind):
            assert set(shelf.options(kind, name)) == set(shelf.load(kind, name).Spec.model_fields)


def test_a_users_package_stands_beside_ours(tmp_path, monkeypatch):
    folder = tmp_path / "my_shelves" / "objectives"
    folder.mkdir(parents=True)
    (tmp_path / "my_shelves" / "__init__.py").write_text("")
    (folder / "__init__.py").write_text("")
    (folder / "mine.py").write_text('"""My objective."""\nSUMMARY = "mine"\n')
    (folder / "contrastive.py").write_text("SUMMARY = 'not ours'\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(shelf, "_packages", ["sensorium"])
    assert "mine" not in shelf.names("objectives")
    shelf.add_package("my_shelves")
    assert "mine" in shelf.names("objectives")
    assert shelf.load("objectives", "mine").__name__ == "my_shelves.objectives.mine"
    assert shelf.load("objectives", "contrastive").__name__.startswith("sensorium.")
    with pytest.raises(UserError):
        shelf.add_package("no_such_package_anywhere")
