"""Judges that run here: a chat model of LLaMA's family through our own engine."""
