"""What a finished run reads in a sequence, and what a learned prompt is made of."""
