"""How good a judge is, from its scores, its repeats, its probes, other judges and people."""
