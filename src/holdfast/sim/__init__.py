"""The simulator: everything Holdfast runs on, made of nothing, so that users too can test with it.

Owns: virtual time and simulated processes (``loop``), the store in memory
(``memstore``), the network between them (``network``), machines, faults and the
referee (``world``), and the fleet of mock BMCs for real time (``fleet``).

Never imports: nothing; it stands outside the layers, and only ``cli`` and tests import it.

What is simulated is only what stands under the ports; conductors, gateway, job
handlers and obituaries are the real code::

    clients -> Errand            Conductor = core.Worker + baremetal.jobs
                  |                  |  store.port        | bmc.commands.Gateway
                  v                  v                    v
              Network ------ Referee(MemStore)     GatewayCore -> Wiring -> SimMachine

Invariants:
- A seed replays bit for bit, whatever the hash seed: nothing reads a real clock,
  an address, or randomness other than the loop's.
- The referee judges from the tables and the machines' journal, never from what a
  process says of itself.
- ``memstore`` and ``store.pg`` pass one conformance suite.

Proved by: ``tests/sim/test_loop.py``, ``tests/sim/test_world.py``,
``tests/sim/test_known_bugs.py`` (that it catches what it is there to catch),
``tests/store/test_conformance.py``.
"""
