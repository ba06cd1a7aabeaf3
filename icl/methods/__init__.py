"""The methods: one file each, registered by a decorator."""
