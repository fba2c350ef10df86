"""The cost of a request with multisite, compared with the same page written by hand for one site.

Run it with `python3 dev.py bench`; `docs/benchmarks.md` explains the results.
"""
