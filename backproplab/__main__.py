"""`python -m backproplab`."""

from backproplab.cli import main

main()
