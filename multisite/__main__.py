"""`python -m multisite` runs the command `multisite`, for environments whose scripts are not on the PATH."""

from multisite.cli import main

if __name__ == "__main__":
    main(prog_name="python -m multisite")
