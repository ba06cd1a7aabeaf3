"""The pretraining trainer."""
