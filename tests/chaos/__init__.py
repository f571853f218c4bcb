"""Chaos: faults, kills and an independent checker, as a program: ``python -m tests.chaos --short``.

__main__     the tiers, one table, a last line
crew         trials side by side in forked processes
scene        a job, its input and its world, drawn from a seed
stage        the processes of one trial: the API, and one after the other those of the product
kill         how a process ends: waited for, killed at its instant, and what it leaves is copied
mishaps      what can go wrong with a request
predictions  what behaviour.md gives each mishap, by hand; for the tier of faults
good         one trial that shows much, for the tests of the checker
kills …      the tiers
mutant       what a planted bug is; `planted` and `planted_books` hold them, the tier `mutants` lets them loose
evidence     what a trial left behind, as plain data
checker      what must hold of it; imports nothing of the product
sightings    which faults, moves and rules a trial met
"""
