"""The methods: one module each, registered by a decorator."""
