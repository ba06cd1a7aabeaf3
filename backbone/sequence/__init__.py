"""DNA as text and in FASTA files."""
