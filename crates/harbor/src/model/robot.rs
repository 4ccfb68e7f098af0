//! Robot accounts.

use std::fmt;

use jiff::Timestamp;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A robot account, with the document that Harbor gave: a PUT replaces everything, so what this version does
/// not know has to be sent back too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub struct Robot {
    /// The id.
    pub id: i64,
    /// The full name, prefix included (`robot$dr-sync`): the user name to log in with.
    pub name: String,
    /// `system` or `project`.
    pub level: String,
    /// Whether its logins are refused.
    pub disabled: bool,
    /// In days from its creation; -1 is never.
    pub duration: i64,
    /// In Unix seconds; -1 is never.
    pub expires_at: i64,
    /// What it may do.
    pub permissions: Vec<Permission>,
    /// When it was last changed.
    pub update_time: Option<Timestamp>,
    /// What Harbor gave, whole. It holds no secret.
    pub document: Value,
}

/// The rights of a robot in one place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Permission {
    /// `system` or `project`. Do not mix both in one robot: it then gets 401 on `/v2/` for everything.
    pub kind: String,
    /// `/` for system, `*` for all projects, or a project's name.
    pub namespace: String,
    /// What it may do there.
    pub access: Vec<Access>,
}

/// One right.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Access {
    /// Such as `repository`. A name that Harbor does not know is accepted and grants nothing.
    pub resource: String,
    /// Such as `pull`.
    pub action: String,
}

/// A robot to be made.
#[derive(Clone, Debug, Serialize)]
pub struct NewRobot {
    /// Lower case, without the prefix.
    pub name: String,
    /// A free text.
    pub description: String,
    /// `system` or `project`.
    pub level: String,
    /// In days; -1 is never. 0 would mean the default of 30 days.
    pub duration: i64,
    /// What it may do.
    pub permissions: Vec<Permission>,
}

/// What the creation of a robot answers: the only time that its secret is shown.
pub struct CreatedRobot {
    /// The id.
    pub id: i64,
    /// The full name, to log in with.
    pub name: String,
    /// The secret.
    pub secret: SecretString,
}

#[derive(Deserialize)]
struct Known {
    id: i64,
    name: String,
    #[serde(default)]
    level: String,
    #[serde(default)]
    disable: bool,
    #[serde(default)]
    duration: i64,
    #[serde(default)]
    expires_at: i64,
    #[serde(default, deserialize_with = "super::null_as_default")]
    permissions: Vec<Permission>,
    #[serde(default, deserialize_with = "super::optional_time")]
    update_time: Option<Timestamp>,
}

impl Robot {
    /// The document with the robot switched off or on, for a PUT.
    pub(crate) fn with_disabled(&self, disabled: bool) -> Value {
        let mut document = self.document.clone();
        document["disable"] = Value::Bool(disabled);
        document
    }

    /// Everything but the switch and the time of change: what a toggle must leave as it was.
    pub(crate) fn apart_from_the_switch(&self) -> Robot {
        let mut robot = Robot {
            disabled: false,
            update_time: None,
            document: Value::Null,
            ..self.clone()
        };
        // The order of rights means nothing.
        robot
            .permissions
            .iter_mut()
            .for_each(|permission| permission.access.sort());
        robot.permissions.sort();
        robot
    }
}

impl TryFrom<Value> for Robot {
    type Error = serde_json::Error;

    fn try_from(document: Value) -> Result<Robot, serde_json::Error> {
        let known = Known::deserialize(&document)?;
        Ok(Robot {
            id: known.id,
            name: known.name,
            level: known.level,
            disabled: known.disable,
            duration: known.duration,
            expires_at: known.expires_at,
            permissions: known.permissions,
            update_time: known.update_time,
            document,
        })
    }
}

impl From<Robot> for Value {
    fn from(robot: Robot) -> Value {
        robot.document
    }
}

impl fmt::Debug for CreatedRobot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreatedRobot")
            .field("id", &self.id)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
