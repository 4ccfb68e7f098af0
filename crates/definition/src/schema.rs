//! JSON Schema of both files, for editors.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;

use crate::config::{Config, DnsConfig};
use crate::runbook::{Kind, RunbookFile};

/// Returns the schema of `runbook.yaml`, draft 7: the youngest that the YAML language server knows in full.
pub fn config_schema<D: DnsConfig>() -> Value {
    schema_of::<Config<D>>("runbook.yaml")
}

/// Returns the schema of runbook files, draft 7.
pub fn runbook_schema<K: Kind>() -> Value {
    schema_of::<RunbookFile<K>>("a runbook")
}

fn schema_of<T: JsonSchema>(title: &str) -> Value {
    let mut schema = SchemaSettings::draft07()
        .into_generator()
        .into_root_schema_for::<T>();
    schema.insert("title".to_owned(), Value::String(title.to_owned()));
    schema.to_value()
}
