"""The revisions, one a file: each names its SQL file and what comes before it."""
