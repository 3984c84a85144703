"""What a view does to tokens: one file each."""
