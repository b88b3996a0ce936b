"""A study of a folder as a Ray job: python jobs/study.py DIR. The same as `twfer study`, where the command is not
installed.
"""

import sys

from twfer_dist.cli.main import main

main(["study", *sys.argv[1:]])
