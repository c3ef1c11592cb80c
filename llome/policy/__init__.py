"""Policies (causal language models as Hugging Face directories) and the one engine that samples from them."""
