from twfer_dist.cli.main import main

main()
