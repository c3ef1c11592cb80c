"""From labelled tables to optimiser steps: neighbours, matched examples, tokens, and the one LightningDataModule."""
