"""Run the command `multisite` as `python -m multisite`, for when its script is not on the PATH."""

from multisite.cli import main

if __name__ == "__main__":
    main(prog_name="python -m multisite")
