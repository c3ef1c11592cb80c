"""Whether finished results still are what their own records say (`llome verify`): read, hashed and counted again, never scored again."""
