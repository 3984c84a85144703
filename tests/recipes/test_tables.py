"""docs/recipes.md says what is counted here and now."""

from recipe_tables import PAGE, filled

from sensorium import shelf
from sensorium.recipe import load


def test_the_page_says_what_is_counted():
    text = PAGE.read_text("utf-8")
    assert filled(text) == text, "python tests/recipe_tables.py writes the tables anew"


def test_every_recipe_has_a_row_in_every_table():
    text = PAGE.read_text("utf-8")
    for name in shelf.names("recipes"):
        assert text.count(f"\n| `{name}` |") == 3


def test_what_is_unexplained_is_said():
    """A published number that this structure does not reach is on the page, not left out."""
    text = PAGE.read_text("utf-8")
    for name in shelf.names("recipes"):
        if "unexplained" in (note := str(load(name).published.get("note", ""))):
            assert note in text
