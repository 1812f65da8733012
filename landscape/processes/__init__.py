"""Several processes that compute together: who they are, what they exchange, how one's failure ends all."""

from landscape.processes.launch import Launch, Processes, launch, refuse_joint_command, refuse_undivided

__all__ = ["Launch", "Processes", "launch", "refuse_joint_command", "refuse_undivided"]
