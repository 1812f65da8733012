"""Several processes that compute together: who they are, what they exchange, how one's failure ends all.

Imported here is only what needs no torch, for commands that read numbers: ``launch`` says whether there are several,
and ``task`` how many work on one output. With torch, ``group`` exchanges numbers. Commands use ``joint``, in which the
processes meet (``rendezvous``), share the machine (``sharing``) and watch each other (``monitor``, ``watching``), and
``starting``, which makes several processes of one command.
"""

from landscape.processes.launch import Launch, Processes, launch, refuse_joint_command, refuse_undivided

__all__ = ["Launch", "Processes", "launch", "refuse_joint_command", "refuse_undivided"]
