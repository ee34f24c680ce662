//! A chain in memory: blocks, a pool, accounts, and what the two contracts do.
