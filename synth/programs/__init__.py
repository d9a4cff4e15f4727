"""The programs, by the name that a prompt file gives."""

from synth.programs import graph, single, sop
from synth.programs.base import Program

PROGRAMS: dict[str, Program] = {"single": single.produce, "sop": sop.produce, "graph": graph.produce}
