"""The BMC gateway: the only way from a decision to a machine's BMC or ramdisk agent.

Owns: route terms and token floors per BMC, serialisation and deadlines of
commands, circuit breakers, credentials sealed to the gateway, Redfish, and the
commands API of the ramdisk agent.

Never imports: a product, ``identity``, ``web``, ``ops``, ``core``. It knows BMCs by
UUID and address, and nothing of nodes; of the store only the values of ``store.model``.

From a conductor to the machine::

    Dispatcher -> GatewayClient ~~HTTP~~> server -> GatewayCore -> Drivers -> Redfish | AgentClient
      Observer    (power sync: many at once)         |  Gate (rules, pure)
                                                     |  GateMemory (durable, SQLite)
                                                     +  Breakers, Pace (pure)

A BMC at one gateway::

    unknown --floor(term, token)--> known(term, token) --command(token')--> known(term, max)
       ^                              |   ^                   lower token: StaleTokenError
       | state lost: new incarnation  +---+ floor(higher term)
       +------------------------------+     lower term: StaleTermError

Invariants:
- Once a command with a token was begun, no command with a lower token is begun
  for that BMC, not even after a restart of the gateway: the token is durable first.
- A gateway without a floor for a BMC under the command's term does nothing.
- One command at a time speaks to a BMC, and one to the machine's ramdisk agent;
  none starts while one with a lower token is still in flight.
- What is in the lane ``sync`` (power sync) keeps no other command waiting for longer
  than ``give_way_s``, if it only reads, and never opens a breaker.
- No connection goes to what ``BmcSettings.denied`` names: by default link-local
  networks, and the gateway's own host.
- Every command ends by its deadline. A credential is in the clear only for the
  length of its command, and never in logs, errors, metrics or status.

Proved by: ``tests/bmc/test_gate.py``, ``tests/bmc/test_gateway.py``,
``tests/bmc/test_lanes.py``, ``tests/bmc/test_outbound.py``; together with
everything above it by ``tests/sim/test_world.py``, and against a real emulator by
``tests/compat``.
"""
