//! The built-in runbooks: the tables of the procedures as YAML, embedded in the binary.

/// The names of the built-in runbooks, with one line each.
pub const BUILTIN: &[(&str, &str)] = &[
    (
        "failover",
        "move the clients to the standby, planned or unplanned",
    ),
    ("failback", "move them back to the former active"),
    ("settle", "pay what is owed when a site has returned"),
];

/// Returns the YAML of a built-in runbook.
pub fn builtin(name: &str) -> Option<&'static str> {
    match name {
        "failover" => Some(include_str!("../../../runbooks/failover.yaml")),
        "failback" => Some(include_str!("../../../runbooks/failback.yaml")),
        "settle" => Some(include_str!("../../../runbooks/settle.yaml")),
        _ => None,
    }
}
