//! Inventory and comparison of sites, and the policies of a pair.
