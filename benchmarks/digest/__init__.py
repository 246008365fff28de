"""A digest of everything that is computed: two commits with the same one compute the same bits."""
