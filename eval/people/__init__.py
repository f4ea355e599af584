"""Human evaluation: what people rate, in which order, and how their ratings come back."""
