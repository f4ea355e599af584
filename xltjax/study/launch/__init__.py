"""How the stages of a study are run: jobs, the process that runs them, and the launchers that send them there."""
