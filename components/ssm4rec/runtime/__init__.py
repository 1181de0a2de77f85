"""What our code asks of a machine: whole files, errors, signals, addresses, object stores, images."""
