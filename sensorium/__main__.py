"""`python -m sensorium`: the command line where scripts are not on the path."""

from sensorium.cli import main

main()
