"""From rows to class scores through the frozen backbone."""
