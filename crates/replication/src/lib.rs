//! What two sites hold and how it differs, and the policies of a pair.
//!
//! "Succeed" of a replication is no proof of a copy; the comparison of digests is. It has three classes: missing,
//! different and extra. Each comparison leaves an inventory behind, so that it exists when its site is gone.

mod comparison;
mod inventory;
mod pair;
mod store;

pub use comparison::{Comparison, Item, compare};
pub use inventory::{Entry, Inventory, Scope, take};
pub use pair::{Found, PairError, find_pull, find_push, same_address};
pub use store::{InventoryStore, StoreError};
