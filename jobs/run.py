"""A recipe as a Ray job: python jobs/run.py RECIPE. The same as `twfer run`, for clusters where the command is not
installed.
"""

import sys

from twfer_dist.cli.main import main

if __name__ == "__main__":
    main(["run", *sys.argv[1:]])
