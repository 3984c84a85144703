"""Which recipe for these data, and whether more of them would help: see docs/choose.md."""
