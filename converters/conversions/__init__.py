"""What the conversion commands do: their settings, and the work, which imports JAX."""
