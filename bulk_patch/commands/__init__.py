"""The commands, a module for each thing that a person comes for; `cli.py` gathers them."""
