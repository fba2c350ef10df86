"""What a request costs with multisite, beside the same page written by hand for one site.

`python3 dev.py bench` runs it; `docs/benchmarks.md` says what the figures mean.
"""
