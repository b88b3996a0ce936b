from twfer_dist.cli.main import main

if __name__ == "__main__":
    main()
