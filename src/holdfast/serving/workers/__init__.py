"""Workers: the processes in which a package's code and models run, and nothing else.

Owns: the frames between front and worker, the fork server, the worker's loop, its limits
(``limits``; ``seccomp``: what it may ask of the kernel, ``landlock``: which files it sees), and
what it writes to stdout and stderr (``speech``).

Never imports: ``front``, ``pool``, ``generations``. A worker holds no key, no other service's
data and no socket but the one to the front.

Invariants:
- The fork server runs no package's code, has one thread, and forks children that wait for their
  first frame before they do anything.
- A worker applies its limits before it opens the package; it ends when the front is gone.
- It reaches no other process, and no file but the system's libraries, its package and its scratch.

Proved by: ``tests/serving/test_confinement.py``, ``tests/serving/test_seccomp.py``,
``tests/serving/test_workers.py``, ``tests/serving/test_speech.py``,
``tests/serving/test_hostile_queries.py``.
"""
