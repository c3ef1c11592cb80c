"""LEON (arXiv 2509.20975): proposals scored by a surrogate, by how far they are from known designs, and by how sure their author is."""
