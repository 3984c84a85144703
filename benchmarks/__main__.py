"""Runs every measurement and writes benchmarks/results; about half an hour on two cores."""

from benchmarks import corpora, photographs, quality

quality.main([])
quality.main(["--ablate"])
corpora.main()
photographs.main()
