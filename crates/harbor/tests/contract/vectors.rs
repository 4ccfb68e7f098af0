//! Answers of Harbor's own filter, namespace and validation code.

use runbook_harbor::filter::{ArtifactView, Filters, Kept, Pattern, specific_paths};
use runbook_harbor::{Filter, InvalidPolicy, Policy, destination_repository, validate_policy};
use serde_json::{Value, json};

fn vectors(group: &str) -> Vec<Value> {
    let all: Value =
        serde_json::from_str(include_str!("../../testdata/filter-vectors.json")).expect("JSON");
    let vectors = all[group].as_array().expect("a group").clone();
    assert!(!vectors.is_empty());
    vectors
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

fn texts(value: &Value) -> Vec<&str> {
    value
        .as_array()
        .map(|items| items.iter().map(text).collect())
        .unwrap_or_default()
}

fn filters(vector: &Value) -> Vec<Filter> {
    let document = json!({ "id": 1, "name": "p", "filters": vector["filters"] });
    serde_json::from_value::<Policy>(document)
        .expect("a policy")
        .filters
}

#[test]
fn patterns() {
    let vectors = vectors("match");
    assert_eq!(vectors.len(), 75);
    for vector in vectors {
        let pattern = Pattern::parse(text(&vector["pattern"]));
        let failed = vector["error"].as_bool().unwrap_or(false);
        assert_eq!(pattern.is_err(), failed, "{vector}");
        if let Ok(pattern) = pattern {
            assert_eq!(
                pattern.check(text(&vector["input"])),
                Ok(vector["match"] == true),
                "{vector}"
            );
        }
    }
}

#[test]
fn repository_filters() {
    let vectors = vectors("repository_filters");
    assert_eq!(vectors.len(), 8);
    for vector in vectors {
        let filters = Filters::new(&filters(&vector));
        assert_eq!(filters.is_err(), vector["error"] == true, "{vector}");
        if let Ok(filters) = filters {
            let repositories = texts(&vector["repositories"]);
            let kept: Vec<_> = repositories
                .into_iter()
                .filter(|name| filters.keeps_repository(name))
                .collect();
            assert_eq!(kept, texts(&vector["kept"]), "{vector}");
        }
    }
}

#[test]
fn artifact_filters() {
    let vectors = vectors("artifact_filters");
    assert_eq!(vectors.len(), 18);
    for vector in vectors {
        let filters = Filters::new(&filters(&vector)).expect("filters");
        let mut kept = Vec::new();
        for artifact in vector["artifacts"].as_array().expect("artifacts") {
            let view = ArtifactView {
                tags: texts(&artifact["tags"]),
                labels: texts(&artifact["labels"]),
                subject_tags: (artifact["is_accessory"] == true)
                    .then(|| texts(&artifact["parent_tags"])),
            };
            let tags = match filters.kept_tags(&view) {
                Kept::Nothing => continue,
                Kept::Tags(tags) => tags,
                Kept::Untagged => Vec::new(),
            };
            kept.push(json!({ "digest": artifact["digest"], "tags": tags }));
        }
        assert_eq!(Value::Array(kept), vector["kept"], "{vector}");
    }
}

#[test]
fn specific_names() {
    let vectors = vectors("specific_path");
    assert_eq!(vectors.len(), 9);
    for vector in vectors {
        let paths = specific_paths(text(&vector["pattern"]));
        assert_eq!(paths.is_some(), vector["specific"] == true, "{vector}");
        assert_eq!(
            paths.unwrap_or_default(),
            texts(&vector["paths"]),
            "{vector}"
        );
    }
}

#[test]
fn namespaces() {
    let vectors = vectors("namespace");
    assert_eq!(vectors.len(), 13);
    for vector in vectors {
        let count = vector["dest_namespace_replace_count"]
            .as_i64()
            .expect("a count");
        let name = destination_repository(
            text(&vector["repository"]),
            text(&vector["dest_namespace"]),
            count,
        );
        assert_eq!(name.is_err(), vector["error"].is_string(), "{vector}");
        if let Ok(name) = name {
            assert_eq!(name, text(&vector["destination"]), "{vector}");
        }
    }
}

#[test]
fn policy_validation() {
    let vectors = vectors("policy_validation");
    assert_eq!(vectors.len(), 48);
    for vector in vectors {
        let reason = validate_policy(&vector["policy"])
            .err()
            .map(|invalid| match invalid {
                InvalidPolicy::NoName => "name_empty",
                InvalidPolicy::Sides => "exactly_one_side_must_be_remote",
                InvalidPolicy::FilterType(_) => "filter_type_unknown",
                InvalidPolicy::FilterValue(_) => "value_must_be_string",
                InvalidPolicy::LabelValue => "label_value_must_be_array_of_strings",
                InvalidPolicy::Resource(_) => "resource_value_unknown",
                InvalidPolicy::DecorationNotAllowed(_) => "decoration_not_allowed_for_this_filter",
                InvalidPolicy::Decoration(_) => "decoration_unknown",
                InvalidPolicy::DestNamespace(_) => "dest_namespace_invalid",
                InvalidPolicy::TriggerType(_) => "trigger_type_unknown",
                InvalidPolicy::CronMissing => "cron_missing",
                InvalidPolicy::CronNotParsable(_) => "cron_not_parsable",
                InvalidPolicy::CronSeconds(_) => "cron_seconds_must_be_0",
                InvalidPolicy::CronMinutes(_) => "cron_minutes_must_not_be_star",
            });
        assert_eq!(reason, vector["reason"].as_str(), "{vector}");
        assert_eq!(reason.is_none(), vector["valid"] == true, "{vector}");
    }
}
