"""The side-by-side page: `domainlm play RUN`."""
