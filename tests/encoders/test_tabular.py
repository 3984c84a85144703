"""The FT-Transformer's tokens against a loop over cells, and what a missing cell may not show."""

import pytest
import torch
from reference import randomise, table_look, text_look

from sensorium.encoders import tabular
from sensorium.modalities.table import Modality, Spec
from sensorium.records import Record, Source

ROWS = [
    {
        "colour": ("red", "blue", "green")[at % 3],
        "note": f"lot {at} of harbour {at * at}",
        "price": 3.5 * at,
        "size": str(at % 4),
        "sold": at % 2 == 0,
        "where": f"{at} north of the town",
    }
    for at in range(12)
]


def table(names=None, rows=ROWS) -> Modality:
    made = Modality(Spec(buckets=60, words=4))
    made.fit([Record("", Source("m"), row) for row in rows], tuple(names or rows[0]))
    return made


def encoder(modality, **spec) -> tabular.Encoder:
    torch.manual_seed(0)
    made = tabular.Encoder(tabular.Spec(**{"width": 8, "depth": 1, "heads": 2, **spec}), modality)
    randomise(made, spread=0.5)
    return made.eval()


def values(modality, rows) -> torch.Tensor:
    return torch.cat([modality.tokens(modality.read(row, "f"), None).values for row in rows])


def run(made, given):
    with torch.no_grad():
        return made.encode(made.embed(table_look(given)))


def test_tokens_are_those_of_a_loop_over_cells():
    modality = table()
    made = encoder(modality)
    rows = [ROWS[0], {**ROWS[5], "price": None, "note": ""}, {"colour": "pink", "sold": False}]
    given = values(modality, rows)
    part = made.tokenizer
    number = choice = 0
    first = 0  # of a column's rows in the table of values
    want = torch.empty(len(rows), len(modality.columns), 8)
    for at, column in enumerate(modality.columns):
        for row in range(len(rows)):
            there, *content = given[row, at].tolist()
            if not there:
                want[row, at] = part.missing[at]
            elif column.kind == "number":
                want[row, at] = content[0] * part.scale[number] + part.bias[at]
            elif column.kind == "words":
                said = [part.words.weight[int(x)] for x in content if x]
                want[row, at] = sum(said) / max(1, len(said)) + part.bias[at]
            else:
                want[row, at] = part.values.weight[first + int(content[0])] + part.bias[at]
        number += column.kind == "number"
        if column.kind in ("category", "boolean"):
            choice, first = choice + 1, first + 1 + len(column.categories)
    assert (number, choice) == (2, 2)
    got = made.embed(table_look(given))
    torch.testing.assert_close(got.tokens[:, 1:], want)
    assert torch.equal(got.tokens[:, 0], made.class_token.expand(3, -1))
    assert got.position[0, :, 0].tolist() == [-1, *range(6)]


def test_numbers_have_parameters_as_the_paper_counts():
    """Section 3.3: W of each number, e of each value, one bias a column; here a row more for what
    is unknown in each column, a missing vector a column, and words."""
    modality = table()
    count = sum(p.numel() for p in encoder(modality).tokenizer.parameters())
    assert count == 8 * (2 + (1 + 3) + (1 + 2) + 6 + 6 + (1 + 60))


def test_a_missing_cell_shows_nothing_of_what_stands_in_its_place():
    modality = table()
    made = encoder(modality)
    clean = values(modality, [{**ROWS[at], "price": None, "note": None} for at in range(4)])
    junk = clean.clone()
    gone = junk[..., 0] == 0
    assert gone.sum() == 8
    for number in (1.0, -5.0, 1e30, float("nan"), float("inf")):
        junk[gone] = torch.tensor([0.0, *[number] * (junk.shape[2] - 1)])
        first, second = run(made, clean), run(made, junk)
        assert torch.equal(first.pooled, second.pooled)
        assert torch.equal(first.tokens, second.tokens)


def test_gradient_of_a_missing_cell_is_that_of_its_vector_alone():
    modality = table()
    made = encoder(modality)
    given = values(modality, [{**ROWS[0], "price": None}])
    at = [column.name for column in modality.columns].index("price")
    given[0, at, 1] = float("nan")
    made.encode(made.embed(table_look(given))).pooled.sum().backward()
    part = made.tokenizer
    assert torch.isfinite(part.scale.grad).all()
    assert part.missing.grad[at].any()
    assert not part.bias.grad[at].any()
    assert not part.missing.grad[at + 1].any()


def test_an_absent_cell_is_no_average_cell():
    modality = table()
    mean = modality.columns[[c.name for c in modality.columns].index("price")].mean
    given = values(modality, [{**ROWS[0], "price": mean}, {**ROWS[0], "price": None}])
    pooled = run(encoder(modality), given).pooled
    assert not torch.allclose(pooled[0], pooled[1], atol=1e-3)


def test_an_unseen_category_is_the_bias_at_first():
    modality = table()
    made = tabular.Encoder(tabular.Spec(width=8, depth=1, heads=2), modality)
    given = values(modality, [{**ROWS[0], "colour": x} for x in ("pink", "violet", "red")])
    tokens = made.embed(table_look(given)).tokens[:, 1]
    assert torch.equal(tokens[0], made.tokenizer.bias[0])
    assert torch.equal(tokens[0], tokens[1])
    assert not torch.equal(tokens[0], tokens[2])


def test_the_order_of_columns_is_not_seen():
    """Columns and their parameters turned together: the pooled state stays."""
    names = ["colour", "price", "sold"]
    modality, other = table(names), table(names)
    turned = [2, 0, 1]
    other._use(tuple(modality.columns[at] for at in turned))
    made, second = encoder(modality), encoder(other)
    state = made.state_dict()
    for name in ("bias", "missing"):
        state[f"tokenizer.{name}"] = state[f"tokenizer.{name}"][turned]
    rows = state["tokenizer.values.weight"]  # colour has 4 rows, sold 3
    state["tokenizer.values.weight"] = torch.cat([rows[4:], rows[:4]])
    second.load_state_dict(state)
    given = values(modality, ROWS[:5])
    torch.testing.assert_close(
        run(made, given).pooled, run(second, given[:, turned]).pooled, atol=1e-6, rtol=0
    )


def test_a_company_of_other_records_changes_nothing():
    modality = table()
    made = encoder(modality)
    given = values(modality, ROWS)
    alone = torch.cat([run(made, row[None]).pooled for row in given])
    torch.testing.assert_close(alone, run(made, given).pooled, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["price", "colour", "note"])
def test_a_table_of_one_kind_has_only_its_part(name):
    modality = table([name])
    made = encoder(modality)
    parts = [made.tokenizer.scale, made.tokenizer.values, made.tokenizer.words]
    assert sum(part is not None for part in parts) == 1
    assert run(made, values(modality, ROWS[:3])).tokens.shape == (3, 2, 8)


def test_the_mean_of_the_columns_can_be_the_pooled_state():
    modality = table()
    state = run(encoder(modality, pool="mean"), values(modality, ROWS[:3]))
    torch.testing.assert_close(state.pooled, state.tokens[:, 1:].mean(1))


def test_another_number_of_columns_is_refused():
    given = values(table(["price", "sold"]), ROWS[:2])
    with pytest.raises(TypeError, match="expected 6 columns, found 2"):
        encoder(table()).embed(table_look(given))
    with pytest.raises(TypeError, match="expected values"):
        encoder(table()).embed(text_look(torch.zeros(1, 2, dtype=torch.int64)))


def test_a_table_that_is_not_fitted_can_be_built_and_not_asked():
    made = tabular.Encoder(tabular.Spec(width=8, depth=1, heads=2), Modality(Spec()))
    with pytest.raises(TypeError, match="found 0"):
        made.embed(table_look(torch.zeros(2, 0, 2)))


def test_heads_divide_the_width():
    with pytest.raises(ValueError, match="multiple of heads"):
        tabular.Spec(width=30, heads=4)
