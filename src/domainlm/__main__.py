"""`python -m domainlm` is `domainlm`."""

from domainlm.cli import main

if __name__ == "__main__":
    main()
