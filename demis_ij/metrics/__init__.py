"""Numbers that say how good an answer is: points and transforms against their truth, pictures against pictures."""
