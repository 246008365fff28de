"""Faults planted on purpose: do the tests notice them?

    python -m tests.plant list                                 # what a seed draws: 120 faults over all rooms
    python -m tests.plant run --out FOUND.json --rooms fastconv/cli fastconv/data
    python -m tests.plant run --out FOUND.json --numbers 3 17  # some of the list
    python -m tests.plant run --out FOUND.json --numbers 0 --tests "tests/test_random.py -k draws"
    python -m tests.plant show FOUND.json                      # how many were killed, and the survivors

A fault is one small change of fastconv/ or kernels/: a comparison or an operation swapped, a constant off by one, a
condition negated, an argument left at its default, another value returned, a statement deleted. Rooms get faults in
proportion to their lines. Each is planted in a copy of the tree, never in the checkout; the tests that mirror the file
run first, then those of its room, then, with `--whole`, the default suite; or those that `--tests` names. What fails
is run again without the fault. A test that hangs with the fault only has noticed too. What is there in FOUND.json is
not run again.
"""
