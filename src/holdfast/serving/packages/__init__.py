"""Packages: how a service is put in one file, carried to a node, and kept there.

Owns: the format (``manifest``), building, signing, opening with suspicion, the store by digest,
and the one function that fetches a package from elsewhere.

Never imports: a product, the core, or anything of serving but ``errors``.

Invariants:
- Equal folders make equal packages, byte for byte.
- Nothing is written outside the folder a package is opened in, and nothing of a package that is
  refused is kept.
- A stored package never changes; its name is the digest of its manifest, which has the digests
  of all its files.

Proved by: ``tests/serving/test_packages.py``, ``tests/serving/test_hostile_packages.py``.
"""
