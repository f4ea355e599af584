"""Judges behind an API: any server of Chat Completions, and OpenAI's batch files."""
