//! The step kinds: the only place where engine, harbor, dns and replication meet.
