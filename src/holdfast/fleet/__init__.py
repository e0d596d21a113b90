"""Fleet: which packages the API nodes shall serve, kept centrally and rolled out carefully.

Owns: the tables ``serving_*``, how a new generation goes from node to node, and the agent that
    makes one node what it shall be.

Never imports: ``stacks``, ``web``, ``ops``; nothing of ``serving`` imports this.

::

    stack -> Fleet (tables) <-- reads all, reports all, every look_s -- Agent -> Registry (a node)
                |                                                         |
                next, moved: which nodes shall have the new one already   packages by URL and digest

Invariants:
    - a node needs none of this to answer: what it serves is on its disk, and only a row that was
      read says that something is to change or to go (static stability);
    - what a node does, it does because of the state it reads, never because of a message; a look
      costs the same whether there is something to do or not;
    - a node gets the new generation only while others of its zones before have it and are well;
      one that fails ends the rollout, and every node has the old one again;
    - queries that failed with the old generation, too, are no fault of the new one;
    - whoever writes a rollout names it, so that one that was overtaken changes nothing any more;
    - of query keys, only digests are kept;
    - a node names to clients the members that it read last, for as long as it can read no others.

Proved by: ``tests/fleet``, ``tests/e2e/test_serving_stacks.py``.
"""
