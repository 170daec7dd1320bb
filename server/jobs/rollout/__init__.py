"""How states that answer are replaced by others while everything goes on."""
