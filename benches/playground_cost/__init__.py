"""Parts of the benchmark of the playground that run in the playground's own process."""
