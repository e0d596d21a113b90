"""The mock BMC fleet: thousands of Redfish BMCs and ramdisk agents in one process.

Owns: simulated machines (power, boot, disk), the Redfish face of their BMCs, the
ramdisk agent that boots in them and speaks ironic-python-agent's protocol, fault
injection, the journal of every command, and the referee that judges journals.

Never imports: anything of Holdfast but ``errors``. What it knows of a conductor is
the HTTP it receives; its verdict is worth something only because of that.

Invariants:
- Every command that reached a BMC or an agent is one line of the journal, written
  (to the kernel) in the order of execution and before its answer is sent.
- A command is executed at one instant, after the BMC's latency has passed, and also
  when its sender has gone away meanwhile: a real BMC does the same.
- An agent lives only while its machine is powered and runs the ramdisk.
- Machines and agents do no I/O and read no clock but the one they are given.

Proved by: ``tests/sim/fleet``.
"""
