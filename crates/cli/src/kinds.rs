//! The step kinds and DNS providers as the definition crate wants them handed in. It knows neither, and they do not
//! know it: these two wrappers are where they meet.

use std::borrow::Cow;

use runbook_definition::{Config, Kind, Runbook};
use runbook_dns::ProviderConfig;
use runbook_engine::plan::InDoubt;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// The configuration as this program reads it.
pub type OurConfig = Config<Dns>;
/// A runbook as this program reads it.
pub type OurRunbook = Runbook<StepKind>;

/// What a step does.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepKind(pub runbook_steps::Kind);

/// Where the record of the service name is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Dns(pub ProviderConfig);

impl Kind for StepKind {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn in_doubt(&self) -> InDoubt {
        self.0.in_doubt()
    }

    fn roles(&self) -> Vec<String> {
        self.0.roles()
    }
}

impl JsonSchema for StepKind {
    fn schema_name() -> Cow<'static, str> {
        runbook_steps::Kind::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        runbook_steps::Kind::json_schema(generator)
    }
}

impl JsonSchema for Dns {
    fn schema_name() -> Cow<'static, str> {
        "DnsProvider".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let servers = serde_json::json!({
            "description": "The servers that must agree after a change, as `ip:port`. Left out: found by the zone's NS records.",
            "type": "array",
            "items": { "type": "string" },
        });
        let kind = serde_json::json!({ "description": "The type of the service record.", "enum": ["A", "AAAA", "CNAME"] });
        let ttl = serde_json::json!({ "description": "The service record's TTL in seconds.", "type": "integer", "minimum": 0 });
        let text = |about: &str| serde_json::json!({ "description": about, "type": "string" });
        json_schema!({
            "description": "The provider that holds the record.",
            "oneOf": [
                {
                    "type": "object",
                    "required": ["rfc2136"],
                    "additionalProperties": false,
                    "properties": { "rfc2136": {
                        "description": "Any server that takes signed dynamic updates: BIND, Knot, PowerDNS.",
                        "type": "object",
                        "required": ["zone", "server", "key"],
                        "additionalProperties": false,
                        "properties": {
                            "zone": text("The zone that holds the service name."),
                            "server": text("The primary as `ip:port`, or several separated by commas."),
                            "type": kind.clone(),
                            "ttl": ttl.clone(),
                            "key": {
                                "description": "The key that signs updates.",
                                "type": "object",
                                "required": ["name", "secret"],
                                "additionalProperties": false,
                                "properties": {
                                    "name": text("The key's name as the server knows it."),
                                    "algorithm": { "enum": ["hmac-sha256", "hmac-sha384", "hmac-sha512"] },
                                    "secret": text("A reference to the secret in base64, such as `env:NAME`."),
                                },
                            },
                            "authoritative": servers.clone(),
                            "timeout": text("Limit of one exchange, such as `5s`."),
                        },
                    } },
                },
                {
                    "type": "object",
                    "required": ["route53"],
                    "additionalProperties": false,
                    "properties": { "route53": {
                        "description": "Amazon Route 53.",
                        "type": "object",
                        "required": ["zone"],
                        "additionalProperties": false,
                        "properties": {
                            "zone": text("The zone's id (`Z...`) or its name."),
                            "type": kind,
                            "ttl": ttl,
                            "endpoint-url": text("Another endpoint than Amazon's."),
                            "region": text("The region to sign for."),
                            "access-key-id": text("A reference to the access key id."),
                            "secret-access-key": text("A reference to the secret access key."),
                            "session-token": text("A reference to the session token."),
                            "authoritative": servers,
                        },
                    } },
                },
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every key that the provider's own types read stands in the schema, and no other.
    #[test]
    fn the_schema_of_providers_knows_the_keys_that_they_read() {
        let schema = runbook_definition::config_schema::<Dns>();
        let validator =
            jsonschema::draft7::new(&schema["definitions"]["DnsProvider"]).expect("a schema");
        let whole = [
            serde_json::json!({ "rfc2136": {
                "zone": "example.test", "server": "127.0.0.1:53", "type": "CNAME", "ttl": 60,
                "key": { "name": "k", "algorithm": "hmac-sha512", "secret": "env:X" },
                "authoritative": ["127.0.0.1:53"], "timeout": "5s",
            } }),
            serde_json::json!({ "route53": {
                "zone": "Z1", "type": "A", "ttl": 60, "endpoint-url": "http://127.0.0.1:1", "region": "us-east-1",
                "access-key-id": "env:A", "secret-access-key": "env:B", "session-token": "env:C",
                "authoritative": ["127.0.0.1:53"],
            } }),
        ];
        for mut document in whole {
            let read: Dns =
                serde_json::from_value(document.clone()).expect("the provider reads it");
            assert_eq!(
                serde_json::to_value(&read).expect("JSON"),
                document,
                "a key is missing in this test"
            );
            assert!(validator.is_valid(&document));
            let inner = document
                .as_object_mut()
                .and_then(|map| map.values_mut().next())
                .expect("tagged");
            inner["ttll"] = 1.into();
            assert!(!validator.is_valid(&document));
        }
    }
}
