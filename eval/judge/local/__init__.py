"""Judges that run here: a chat model of the LLaMA family through our own engine."""
