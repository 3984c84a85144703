"""The report of a run: one HTML file that opens without a network.

`collecting` gathers what is shown, as plain data (`facts`): answers of search, examples of the
other tasks. `verdict` and `words` say it, `charts` draws it, `scores`, `gallery` and `parts` lay it
out, `page` writes it.
"""
