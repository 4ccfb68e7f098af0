//! A typed client of Harbor's API and the pure rules of its policies.
