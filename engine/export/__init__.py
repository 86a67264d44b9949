"""From depth on the work grid to the files of the solve folder."""
