"""Forms of each fusion beside its default one, for tests that run over all of them."""

from sensorium import shelf

FORMS = {
    "additive": [dict(depth=2)],
    "merge_attention": [dict(norm="post", embedding_norm=True, final_norm=False, pool="pooler")],
    "co_attention": [dict(norm="post", final_norm=False, inner=12, pool="mean", mlp=1.0)],
    "cross_attention": [
        dict(norm="post", final_norm=False, pool="pooler"),
        dict(ways="both", pool="mean"),
        dict(ways="both", order="cross_first", norm="post", final_norm=False),
        dict(order="cross_first", pool="last"),
    ],
}
CASES = [(name, form) for name in shelf.names("fusion") for form in [{}, *FORMS.get(name, [])]]


def told(case) -> str:
    """A case as a test is called."""
    name, form = case
    return "-".join([name, *(f"{key}={value}" for key, value in form.items())])
