//! What the documents say, held against what the program does.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use runbook_definition::{parse_config, parse_runbook, runbook_schema};
use runbook_engine::plan::Mode;
use runbook_engine::state;
use runbook_steps::runbooks::BUILTIN;
use serde_json::Value;

use crate::exit::Exit;
use crate::kinds::{OurRunbook, StepKind};
use crate::planning::{Loaded, Roles, WIDTH};

const README: &str = include_str!("../../../README.md");
const ARCHITECTURE: &str = include_str!("../../../ARCHITECTURE.md");
const RUNBOOKS: &str = include_str!("../../../docs/runbooks.md");
const PROCEDURES: &str = include_str!("../../../docs/procedures.md");
/// Every document that is checked here, by its place in the repository.
const DOCUMENTS: &[(&str, &str)] = &[
    ("README.md", README),
    ("ARCHITECTURE.md", ARCHITECTURE),
    ("docs/runbooks.md", RUNBOOKS),
    ("docs/procedures.md", PROCEDURES),
    ("docs/harbor.md", include_str!("../../../docs/harbor.md")),
    ("docs/figures.md", include_str!("../../../docs/figures.md")),
];

/// Returns the fenced blocks of a language, each with the line on which it begins.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut open: Option<(usize, &'a str, String)> = None;
    for (i, line) in text.lines().enumerate() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(name)) => open = Some((i + 1, name.trim(), String::new())),
            (Some(_), Some(_)) => {
                let (at, name, block) = open.take().expect("a block is open");
                if name == language {
                    found.push((at, block));
                }
            }
            (Some((_, _, block)), None) => {
                block.push_str(line);
                block.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block is never closed");
    found
}

#[test]
fn the_state_diagram_is_that_of_the_table() {
    let expected = format!("```mermaid\n{}```", state::diagram());
    let (_, rest) = ARCHITECTURE
        .split_once("<!-- states: begin -->\n")
        .expect("the mark where the diagram begins");
    let (found, _) = rest
        .split_once("\n<!-- states: end -->")
        .expect("the mark where the diagram ends");
    assert!(
        found == expected,
        "the diagram in ARCHITECTURE.md is not that of crates/engine/src/state.rs; put this between the marks \
         `states: begin` and `states: end`:\n\n{expected}\n"
    );
}

#[tokio::test]
async fn every_yaml_block_reads_and_plans() {
    let mut read = 0;
    for (place, text) in DOCUMENTS {
        for (line, block) in blocks(text, "yaml") {
            let at = format!("{place}:{line}");
            if block.lines().any(|line| line.starts_with("runbook:")) {
                plans(&loaded("README.md", &config()), &at, &block).await;
            } else if block.lines().any(|line| line.starts_with("sites:")) {
                for (name, _) in BUILTIN {
                    let runbook = runbook_steps::builtin(name).expect("it is built in");
                    plans(&loaded(&at, &block), name, runbook).await;
                }
            } else {
                panic!(
                    "{at}: a `yaml` block is a whole configuration or runbook; call a fragment `text`"
                );
            }
            read += 1;
        }
    }
    assert!(read >= 3, "{read} blocks");
}

/// Returns the first configuration of the README.
fn config() -> String {
    let (_, block) = blocks(README, "yaml").remove(0);
    block
}

fn loaded(at: &str, block: &str) -> Loaded {
    let config = parse_config(at, block)
        .unwrap_or_else(|diagnostics| panic!("{}", diagnostics.render(false, WIDTH)));
    Loaded {
        config,
        path: "/etc/runbook/runbook.yaml".into(),
    }
}

/// Reads a runbook, plans it in both modes and makes its steps.
async fn plans(loaded: &Loaded, at: &str, text: &str) {
    let runbook: OurRunbook = parse_runbook(at, text)
        .and_then(|runbook: OurRunbook| {
            runbook.check_sites(loaded.config.sites.keys().map(|site| site.as_str()))?;
            Ok(runbook)
        })
        .unwrap_or_else(|diagnostics| panic!("{}", diagnostics.render(false, WIDTH)));
    let pair = loaded.pair(None, None).await.expect("one topology");
    let moves = runbook.steps.iter().any(|step| step.cutover);
    let roles = Roles {
        from: pair.active.clone(),
        to: if moves { &pair.standby } else { &pair.active }.clone(),
    };
    let bindings = loaded.bindings(&pair);
    for mode in [Mode::Planned, Mode::Unplanned] {
        let plan = loaded
            .plan(&pair, &runbook, &roles, mode, &bindings)
            .unwrap_or_else(|_| panic!("{at} cannot become a plan"));
        let steps = runbook_steps::build(&plan).unwrap_or_else(|error| panic!("{at}: {error}"));
        assert_eq!(steps.len(), runbook.steps.len(), "{at}");
    }
}

#[test]
fn every_step_kind_is_described_with_all_its_options() {
    let schema = runbook_schema::<StepKind>();
    let definitions = &schema["definitions"];
    let kinds: Vec<&Value> = definitions["Kind"]["oneOf"]
        .as_array()
        .expect("one alternative for each kind")
        .iter()
        .collect();
    assert!(kinds.len() >= 18, "{} kinds", kinds.len());
    for kind in kinds {
        let (name, content) = kind["properties"]
            .as_object()
            .and_then(|map| map.iter().next())
            .expect("one key");
        let heading = format!("### `{name}`\n");
        let (_, rest) = RUNBOOKS
            .split_once(&heading)
            .unwrap_or_else(|| panic!("docs/runbooks.md has no section `{}`", heading.trim()));
        let section = rest.split("\n### ").next().unwrap_or_default();
        for option in options(definitions, content) {
            assert!(
                section.contains(&format!("`{option}"))
                    || section.contains(&format!("{name}: {option}`")),
                "docs/runbooks.md does not say what `{option}` of `{name}` means"
            );
        }
    }
}

/// Returns the keys and the words that may stand directly under a kind.
fn options(definitions: &Value, content: &Value) -> BTreeSet<String> {
    let content = content["$ref"]
        .as_str()
        .and_then(|path| path.rsplit('/').next())
        .map_or(content, |name| &definitions[name]);
    let alternatives = ["oneOf", "anyOf"]
        .iter()
        .filter_map(|key| content[key].as_array())
        .flatten();
    let mut found = BTreeSet::new();
    for part in alternatives.chain([content]) {
        found.extend(
            part["properties"]
                .as_object()
                .into_iter()
                .flat_map(|map| map.keys().cloned()),
        );
        found.extend(part["const"].as_str().map(str::to_owned));
        let words = part["enum"].as_array().into_iter().flatten();
        found.extend(words.filter_map(Value::as_str).map(str::to_owned));
    }
    found
}

#[test]
fn every_step_of_the_built_in_runbooks_is_explained() {
    for (name, _) in BUILTIN {
        let text = runbook_steps::builtin(name).expect("it is built in");
        let runbook: OurRunbook = parse_runbook(name, text).expect("a built-in runbook reads");
        for step in &runbook.steps {
            assert!(
                PROCEDURES.contains(&format!("`{}`", *step.id)),
                "docs/procedures.md does not explain step `{}` of `{name}`",
                *step.id
            );
        }
    }
}

#[test]
fn every_exit_code_stands_in_the_readme() {
    for (_, code, meaning) in Exit::TABLE {
        let row = format!("| {code} | {meaning} |");
        assert!(README.contains(&row), "README.md lacks `{row}`");
    }
}

#[test]
fn links_lead_to_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for (place, text) in DOCUMENTS {
        let folder: PathBuf = root
            .join(place)
            .parent()
            .map(Path::to_owned)
            .unwrap_or_default();
        for part in text.split("](").skip(1) {
            let target = part.split([')', '#']).next().unwrap_or_default();
            if target.is_empty() || target.starts_with("http") {
                continue;
            }
            assert!(
                folder.join(target).exists(),
                "{place}: `{target}` leads nowhere"
            );
        }
    }
}
