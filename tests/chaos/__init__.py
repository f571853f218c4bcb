"""Chaos: faults, kills and an independent checker, as a program: ``python -m tests.chaos --short``.

__main__     the tiers, one table, a last line
crew         trials side by side in forked processes
scene        a job, its input and its world, drawn from a seed
stage        the processes of one trial: the API, the product, kills, and what each death leaves behind
mishaps      what can go wrong with a request
kills …      the tiers
evidence     what a trial left behind, as plain data
checker      what must hold of it; imports nothing of the product
sightings    which faults, moves and rules a trial met
"""
