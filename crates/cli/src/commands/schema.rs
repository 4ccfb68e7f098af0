//! `runbook schema`: what editors need to complete and check the files.

use runbook_definition::{config_schema, runbook_schema};

use crate::exit::Exit;
use crate::failure::Result;
use crate::kinds::{Dns, StepKind};
use crate::output::{Format, Output};

/// Print the JSON Schema of the configuration or of runbooks
///
/// Save it and name it in the first line of the file:
/// `# yaml-language-server: $schema=./runbook.schema.json`
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Of which file
    #[arg(value_enum, default_value_t = Of::Config)]
    of: Of,
}

/// Of which file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Of {
    /// `runbook.yaml`.
    Config,
    /// A runbook.
    Runbook,
}

/// Prints a schema.
pub fn schema(args: Args, out: Output) -> Result<Exit> {
    out.form(Format::Json, &[Format::Json])?;
    out.json(&match args.of {
        Of::Config => config_schema::<Dns>(),
        Of::Runbook => runbook_schema::<StepKind>(),
    });
    Ok(Exit::Done)
}
