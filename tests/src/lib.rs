//! End-to-end tests on a real single-node cluster.
