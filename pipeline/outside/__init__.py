"""What the program meets outside: a machine that refuses (`machine`), and text that others wrote (`visible`)."""
