"""Runs every measurement and writes benchmarks/results; about an hour on two
cores. Speed comes first, while the machine is quiet."""

from benchmarks import (
    corpora,
    few_labels,
    objectives,
    packing,
    photographs,
    quality,
    statistics,
    vocabulary,
    world,
)

objectives.main([])
vocabulary.main([])
packing.main([])
world.main([])
quality.main([])
quality.main(["--ablate"])
corpora.main()
photographs.main()
few_labels.main([])
statistics.main([])
