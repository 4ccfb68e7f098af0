//! Single values with messages of their own, so that nobody is told "invalid u64".

pub(crate) mod host;
pub(crate) mod secret;
pub(crate) mod site;
pub(crate) mod span;
pub(crate) mod url;

/// Makes a type that is written as one text out of its `FromStr` and `Display`, with a schema.
macro_rules! text_scalar {
    ($type:ty, $name:literal, $schema:expr) => {
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                String::deserialize(from)?
                    .parse()
                    .map_err(serde::de::Error::custom)
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let schema: schemars::Schema = $schema;
                schema
            }
        }
    };
}

pub(crate) use text_scalar;
