"""Runs every measurement and writes benchmarks/results; about three quarters of an hour on two
cores. Speed comes first, while the machine is quiet."""

from benchmarks import corpora, objectives, packing, photographs, quality, vocabulary

objectives.main([])
vocabulary.main([])
packing.main([])
quality.main([])
quality.main(["--ablate"])
corpora.main()
photographs.main()
