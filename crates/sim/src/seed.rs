//! What the two sites hold at the start.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::{
    clock,
    content::{self, Image},
    http,
    model::{Endpoint, Label, Policy, Robot, Trigger, User},
    sandbox::Direction,
    site::Site,
    store::{self, Refused},
};

pub(crate) const ROBOT: &str = "dr-replication";
const FILTER: &str = "{production,library}/**";
/// Every eight minutes.
const CRON: &str = "0 */8 * * * *";

/// Fills both sites with the same content and makes them a DR pair.
pub(crate) fn fill(
    primary: &Arc<Site>,
    dr: &Arc<Site>,
    direction: Direction,
) -> Result<(), Refused> {
    for site in [primary, dr] {
        add_content(site)?;
        add_accounts(site);
    }
    add_endpoint(primary, dr);
    add_endpoint(dr, primary);
    let scheduled = ("scheduled", CRON);
    match direction {
        // The active is the source of a pull: the policy lives where the copy goes.
        Direction::Pull => {
            add_policy(dr, "dr-forward", true, scheduled, true);
            add_policy(primary, "dr-reverse", true, scheduled, false);
        }
        Direction::Push => {
            add_policy(primary, "dr-forward", false, ("event_based", ""), true);
            add_policy(dr, "dr-reverse", false, ("event_based", ""), false);
            add_policy(dr, "dr-final-sync", true, ("manual", ""), true);
            add_policy(primary, "dr-final-reverse-sync", true, ("manual", ""), true);
        }
    }
    Ok(())
}

/// Leaves both sites as a fresh Harbor is.
pub(crate) fn leave_bare(primary: &Site, dr: &Site) {
    for site in [primary, dr] {
        http::make_project(&mut site.state(), "library", true, site.now());
    }
}

/// The images, the same everywhere: repository, tag and content.
fn images() -> Vec<(&'static str, &'static str, Image)> {
    let plain = |seed: &str| content::image(seed, "amd64");
    vec![
        ("production/app", "v1.0.0", plain("app-v1")),
        ("production/app", "v1.2.3", plain("app-v1.2.3")),
        ("production/app", "latest", plain("app-v1.2.3")),
        ("production/app", "dev-1", plain("app-dev1")),
        ("production/team/tool", "v1", plain("tool")),
        ("production/web", "v2.0.0", content::index("web-v2")),
        ("library/base", "stable", plain("base")),
    ]
}

fn add_content(site: &Arc<Site>) -> Result<(), Refused> {
    let now = site.now();
    {
        let mut state = site.state();
        http::make_project(&mut state, "library", true, now);
        http::make_project(&mut state, "production", false, now);
        let id = state.next_id("label");
        let label = Label {
            id,
            name: "production".to_owned(),
            description: String::new(),
            color: "#00AB9A".to_owned(),
            scope: "g".to_owned(),
            project: 0,
            created: now,
        };
        state.labels.insert(id, label);
    }
    for (repository, tag, image) in images() {
        store::put_image(site, repository, Some(tag), &image)?;
    }
    let signed = content::image("app-v1", "amd64");
    store::put_image(site, "production/app", None, &content::accessory(&signed))?;
    Ok(())
}

fn add_accounts(site: &Site) {
    let now = site.now();
    let mut state = site.state();
    state.users.push(User {
        id: 3,
        name: "dev".to_owned(),
        password: clock::password(),
        admin: false,
        created: now,
    });
    let access: Vec<Value> = [
        ("repository", "list"),
        ("repository", "pull"),
        ("repository", "push"),
        ("repository", "read"),
        ("repository", "delete"),
        ("artifact", "list"),
        ("artifact", "read"),
        ("artifact", "delete"),
        ("tag", "list"),
        ("tag", "create"),
        ("tag", "delete"),
    ]
    .iter()
    .map(|(resource, action)| json!({ "resource": resource, "action": action }))
    .collect();
    let id = state.next_id("robot");
    let robot = Robot {
        id,
        name: ROBOT.to_owned(),
        secret: clock::password(),
        description: "used by the other site".to_owned(),
        disabled: false,
        duration_days: -1,
        expires_at: -1,
        level: "system".to_owned(),
        permissions: json!([{ "kind": "project", "namespace": "*", "access": access }]),
        created: now,
        updated: now,
    };
    state.robots.insert(id, robot);
}

/// Lets a site know the other one, with the robot that the other one has for it.
fn add_endpoint(site: &Site, other: &Site) {
    let robot = other
        .state()
        .robots
        .values()
        .find(|robot| robot.name == ROBOT)
        .cloned();
    let Some(robot) = robot else { return };
    let now = site.now();
    let mut state = site.state();
    let id = state.next_id("endpoint");
    let endpoint = Endpoint {
        id,
        name: other.name.clone(),
        description: String::new(),
        kind: "harbor".to_owned(),
        url: other.url.clone(),
        insecure: true,
        access_key: robot.full_name(),
        access_secret: robot.secret,
        status: "healthy".to_owned(),
        created: now,
        updated: now,
    };
    state.endpoints.insert(id, endpoint);
}

fn add_policy(site: &Site, name: &str, is_pull: bool, (kind, cron): (&str, &str), enabled: bool) {
    let now = site.now();
    let mut state = site.state();
    let endpoint = state.endpoints.keys().next().copied().unwrap_or(0);
    let id = state.next_id("policy");
    let (source, destination) = if is_pull {
        (endpoint, 0)
    } else {
        (0, endpoint)
    };
    let policy = Policy {
        id,
        name: name.to_owned(),
        description: "made by the sandbox".to_owned(),
        source,
        destination,
        dest_namespace: String::new(),
        replace_count: -1,
        trigger: Some(Trigger {
            kind: kind.to_owned(),
            cron: cron.to_owned(),
        }),
        filters: json!([{ "type": "name", "value": FILTER }]),
        // Deletions travel only by the events of a push.
        deletion: kind == "event_based",
        overwrites: true,
        enabled,
        speed: 0,
        copy_by_chunk: false,
        created: now,
        updated: now,
        revision: 0,
    };
    state.policies.insert(id, policy);
}
