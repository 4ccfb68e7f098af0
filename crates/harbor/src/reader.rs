//! Looking at one Harbor: GET and HEAD only, and the ping of a registry endpoint, which changes nothing.

use jiff::Timestamp;
use jiff::fmt::rfc2822;
use reqwest::header::DATE;
use reqwest::{Method, Url};
use serde_json::{Value, json};

use crate::endpoint::{Endpoint, RequestIds};
use crate::error::{ErrorKind, Result};
use crate::model::content::{Artifact, Project, Quota, QuotaDocument, Repository, Volume, Volumes};
use crate::model::execution::{Execution, Task};
use crate::model::health::Health;
use crate::model::policy::Policy;
use crate::model::registry::{Ping, Registry};
use crate::model::robot::Robot;
use crate::model::system::{CurrentUser, Identity, SystemInfo};
use crate::oci;
use crate::wire::{Auth, Call, PAGE_SIZE, Wire, header_text};

/// Looks at one Harbor. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Reader {
    wire: Wire,
}

/// What to tell of each artifact besides its tags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArtifactQuery {
    /// Its labels.
    pub with_label: bool,
    /// Its signatures, SBOMs and the like.
    pub with_accessory: bool,
}

impl Reader {
    /// Makes a client. Sends nothing yet; fails when the URL or the certificates are unusable.
    ///
    /// A rustls crypto provider must have been installed before.
    pub fn new(endpoint: Endpoint) -> Result<Reader> {
        Ok(Reader {
            wire: Wire::new(endpoint, None)?,
        })
    }

    /// Like [`Reader::new`], with the source of the request ids.
    pub fn with_request_ids(endpoint: Endpoint, ids: RequestIds) -> Result<Reader> {
        Ok(Reader {
            wire: Wire::new(endpoint, Some(ids))?,
        })
    }

    /// The name of the site.
    pub fn site(&self) -> &str {
        &self.wire.endpoint().site
    }

    /// Where Harbor answers.
    pub fn url(&self) -> &Url {
        &self.wire.endpoint().url
    }

    /// How this Harbor is reached.
    pub fn endpoint(&self) -> &Endpoint {
        self.wire.endpoint()
    }

    /// The `/v2/` side of the same Harbor, logging in with each request.
    pub fn oci(&self) -> oci::Reader {
        oci::Reader::on(self.wire.clone(), oci::Login::Basic)
    }

    pub(crate) fn wire(&self) -> &Wire {
        &self.wire
    }

    /// Asks for the health of each part. Needs no credentials and sends none.
    pub async fn health(&self) -> Result<Health> {
        let url = self.wire.api(["health"]);
        let path = url.path().to_owned();
        let mut call = Call::get(url);
        call.auth = Auth::Anonymous;
        let answer = self.wire.send(call).await?;
        self.wire.decode(&Method::GET, &path, &answer)
    }

    /// Asks what Harbor says about itself. Wrong credentials are not refused here: see
    /// [`SystemInfo::is_authenticated`].
    pub async fn system_info(&self) -> Result<SystemInfo> {
        let url = self.wire.api(["systeminfo"]);
        let path = url.path().to_owned();
        let answer = self.wire.send(Call::get(url)).await?;
        let mut info: SystemInfo = self.wire.decode(&Method::GET, &path, &answer)?;
        info.date = header_text(&answer.headers, &DATE).and_then(http_date);
        Ok(info)
    }

    /// Asks whose credentials these are: the one call that tells wrong ones from right ones. Fails with
    /// [`ErrorKind::Unauthorized`], or [`ErrorKind::DatabaseDown`] when they cannot be checked.
    pub async fn identity(&self) -> Result<Identity> {
        match self
            .wire
            .get::<CurrentUser>(self.wire.api(["users", "current"]))
            .await
        {
            Ok(user) => Ok(Identity::User {
                name: user.username,
                administrator: user.sysadmin_flag || user.admin_role_in_auth,
            }),
            // 412 is given to robots alone, and only after their secret was found right.
            Err(error) if error.kind() == ErrorKind::Precondition => Ok(Identity::Robot),
            Err(error) => Err(error),
        }
    }

    /// Asks whether writes are refused. Works for users and robots; an answer proves the credentials.
    pub async fn read_only(&self) -> Result<bool> {
        if let Some(read_only) = self.system_info().await?.read_only {
            return Ok(read_only);
        }
        // The anonymous view: the credentials were not taken.
        let kind = match self.wire.database_is_down().await {
            true => ErrorKind::DatabaseDown,
            false => ErrorKind::Unauthorized,
        };
        let message = "answered as to an anonymous caller";
        Err(self.wire.error(
            Method::GET,
            self.wire.api(["systeminfo"]).path(),
            kind,
            message,
        ))
    }

    /// Lists the registry endpoints.
    pub async fn registries(&self) -> Result<Vec<Registry>> {
        self.wire
            .pages(self.wire.api(["registries"]), |registry: &Registry| {
                registry.id
            })
            .await
    }

    /// Reads one registry endpoint.
    pub async fn registry(&self, id: i64) -> Result<Registry> {
        self.wire
            .get(self.wire.api(["registries", &id.to_string()]))
            .await
    }

    /// Has Harbor try a registry endpoint now. A read-only Harbor refuses this
    /// ([`ErrorKind::ReadOnly`]); an unknown id is [`ErrorKind::NotFound`].
    pub async fn ping_registry(&self, id: i64) -> Result<Ping> {
        let mut call = Call::write(Method::POST, self.wire.api(["registries", "ping"]))
            .json(&json!({ "id": id }));
        call.mutates = false;
        match self.wire.send(call).await {
            Ok(_) => Ok(Ping::Ok),
            Err(error) => match error.status() {
                Some(400) => Ok(Ping::BadCredentials),
                Some(500) => Ok(Ping::Unreachable),
                _ => Err(error),
            },
        }
    }

    /// Lists all replication policies, newest first.
    pub async fn policies(&self) -> Result<Vec<Policy>> {
        let url = self.wire.api(["replication", "policies"]);
        self.wire.pages(url, |policy: &Policy| policy.id).await
    }

    /// Reads one policy.
    pub async fn policy(&self, id: i64) -> Result<Policy> {
        self.wire
            .get(self.wire.api(["replication", "policies", &id.to_string()]))
            .await
    }

    /// Finds the policy of exactly this name.
    pub async fn policy_named(&self, name: &str) -> Result<Option<Policy>> {
        let mut url = self.wire.api(["replication", "policies"]);
        // A name that the query language could misread is looked for in the whole list.
        if let Some(query) = exact_query("name", name) {
            url.query_pairs_mut().append_pair("q", &query);
        }
        let found = self.wire.pages(url, |policy: &Policy| policy.id).await?;
        Ok(found.into_iter().find(|policy| policy.name == name))
    }

    /// Lists the newest executions of a policy, newest first, at most `limit`. Harbor keeps about 50.
    pub async fn executions(&self, policy_id: i64, limit: usize) -> Result<Vec<Execution>> {
        let mut all: Vec<Execution> = Vec::new();
        let size = limit.clamp(1, PAGE_SIZE);
        for page in 1.. {
            let (items, _) = self
                .wire
                .page::<Execution>(&self.executions_url(policy_id), page, size)
                .await?;
            let count = items.len();
            let fresh: Vec<_> = items
                .into_iter()
                .filter(|new| all.iter().all(|e| e.id != new.id))
                .collect();
            // A page of known items only would mean a server that ignores `page`.
            let none = fresh.is_empty();
            all.extend(fresh);
            if all.len() >= limit || count < size || none {
                break;
            }
        }
        all.truncate(limit);
        Ok(all)
    }

    /// Lists the executions of a policy whose id is above `mark`, newest first.
    pub async fn executions_above(&self, policy_id: i64, mark: i64) -> Result<Vec<Execution>> {
        let url = self.executions_url(policy_id);
        let mut above: Vec<Execution> = Vec::new();
        for page in 1.. {
            let (items, total) = self.wire.page::<Execution>(&url, page, PAGE_SIZE).await?;
            let count = items.len();
            let fresh: Vec<_> = items
                .into_iter()
                .filter(|new| new.id > mark && above.iter().all(|known| known.id != new.id))
                .collect();
            // The order is by start time, which can differ from that of the ids by a few places, so only
            // a page without any above the mark ends the search.
            let none = fresh.is_empty();
            above.extend(fresh);
            if none || count < PAGE_SIZE || total.is_some_and(|total| page * PAGE_SIZE >= total) {
                break;
            }
        }
        above.sort_by_key(|execution| std::cmp::Reverse(execution.id));
        Ok(above)
    }

    /// Returns the highest execution id of a policy, 0 when there is none: the mark.
    pub async fn highest_execution(&self, policy_id: i64) -> Result<i64> {
        let (items, _) = self
            .wire
            .page::<Execution>(&self.executions_url(policy_id), 1, PAGE_SIZE)
            .await?;
        Ok(items
            .iter()
            .map(|execution| execution.id)
            .max()
            .unwrap_or(0))
    }

    /// Reads one execution. Old ones are swept away and become [`ErrorKind::NotFound`].
    pub async fn execution(&self, id: i64) -> Result<Execution> {
        self.wire
            .get(
                self.wire
                    .api(["replication", "executions", &id.to_string()]),
            )
            .await
    }

    /// Lists all tasks of an execution.
    pub async fn tasks(&self, execution_id: i64) -> Result<Vec<Task>> {
        let url = self.wire.api([
            "replication",
            "executions",
            &execution_id.to_string(),
            "tasks",
        ]);
        self.wire.pages(url, |task: &Task| task.id).await
    }

    /// Returns the end of a task's log, whole lines of at most `max_bytes` bytes together. Only the last
    /// run of a task has a log, and it is swept after a day.
    pub async fn task_log_tail(
        &self,
        execution_id: i64,
        task_id: i64,
        max_bytes: usize,
    ) -> Result<String> {
        let (execution_id, task_id) = (execution_id.to_string(), task_id.to_string());
        let url = self.wire.api([
            "replication",
            "executions",
            &execution_id,
            "tasks",
            &task_id,
            "log",
        ]);
        let answer = self.wire.send(Call::get(url)).await?;
        Ok(tail(&answer.body, max_bytes))
    }

    /// Lists the robots of the system level.
    pub async fn robots(&self) -> Result<Vec<Robot>> {
        self.wire
            .pages(self.wire.api(["robots"]), |robot: &Robot| robot.id)
            .await
    }

    /// Lists the robots of one project.
    pub async fn project_robots(&self, project_id: i64) -> Result<Vec<Robot>> {
        let mut url = self.wire.api(["robots"]);
        url.query_pairs_mut()
            .append_pair("q", &format!("Level=project,ProjectID={project_id}"));
        self.wire.pages(url, |robot: &Robot| robot.id).await
    }

    /// Reads one robot.
    pub async fn robot(&self, id: i64) -> Result<Robot> {
        self.wire
            .get(self.wire.api(["robots", &id.to_string()]))
            .await
    }

    /// Finds the system robot with this short name: `dr-sync`, not `robot$dr-sync`. Harbor stores names
    /// without the prefix, which is a setting.
    pub async fn robot_named(&self, short_name: &str) -> Result<Option<Robot>> {
        let mut url = self.wire.api(["robots"]);
        if let Some(query) = exact_query("name", short_name) {
            url.query_pairs_mut().append_pair("q", &query);
        }
        let found = self.wire.pages(url, |robot: &Robot| robot.id).await?;
        let mut matching: Vec<Robot> = found
            .into_iter()
            .filter(|robot| is_short_name_of(short_name, &robot.name))
            .collect();
        // With a query there is one at most; without, the shortest full name has the least before it.
        matching.sort_by_key(|robot| robot.name.len());
        Ok(matching.into_iter().next())
    }

    /// Lists the projects that the caller sees. Wrong credentials get the public ones, not an error.
    pub async fn projects(&self) -> Result<Vec<Project>> {
        self.wire
            .pages(self.wire.api(["projects"]), |project: &Project| project.id)
            .await
    }

    /// Reads one project by name.
    pub async fn project(&self, name: &str) -> Result<Project> {
        let found = self.wire.get(self.wire.api(["projects", name])).await;
        match found {
            // A name of digits alone is taken for an id.
            Ok(Project {
                name: ref other, ..
            }) if other != name => Err(self.wire.error(
                Method::GET,
                self.wire.api(["projects", name]).path(),
                ErrorKind::NotFound,
                format!("got project `{other}` instead"),
            )),
            other => other,
        }
    }

    /// Lists the repositories of a project.
    pub async fn repositories(&self, project: &str) -> Result<Vec<Repository>> {
        let url = self.wire.api(["projects", project, "repositories"]);
        self.wire
            .pages(url, |repository: &Repository| repository.name.clone())
            .await
    }

    /// Lists the artifacts of a repository, all pages. `repository` is the name within the project
    /// ([`Repository::name_in_project`]). An unknown repository gives an empty list, not an error.
    pub async fn artifacts(
        &self,
        project: &str,
        repository: &str,
        query: &ArtifactQuery,
    ) -> Result<Vec<Artifact>> {
        self.wire
            .pages(
                self.artifacts_url(project, repository, query),
                |artifact: &Artifact| artifact.digest.clone(),
            )
            .await
    }

    /// Gets page `page` (from 1, 100 artifacts each) of a repository, and the number of all artifacts.
    pub async fn artifacts_page(
        &self,
        project: &str,
        repository: &str,
        query: &ArtifactQuery,
        page: usize,
    ) -> Result<(Vec<Artifact>, Option<usize>)> {
        self.wire
            .page(
                &self.artifacts_url(project, repository, query),
                page,
                PAGE_SIZE,
            )
            .await
    }

    /// Reads one artifact by tag or digest.
    pub async fn artifact(
        &self,
        project: &str,
        repository: &str,
        reference: &str,
        query: &ArtifactQuery,
    ) -> Result<Artifact> {
        let mut url = self.repository_url(project, repository, &["artifacts", reference]);
        add_query(&mut url, query);
        self.wire.get(url).await
    }

    /// Reads the space of a project.
    pub async fn quota(&self, project: &str) -> Result<Quota> {
        #[derive(serde::Deserialize)]
        struct Summary {
            quota: QuotaDocument,
        }
        let summary: Summary = self
            .wire
            .get(self.wire.api(["projects", project, "summary"]))
            .await?;
        Ok(summary.quota.into())
    }

    /// Reads the space of Harbor's file systems.
    pub async fn volumes(&self) -> Result<Vec<Volume>> {
        let volumes: Volumes = self
            .wire
            .get(self.wire.api(["systeminfo", "volumes"]))
            .await?;
        Ok(volumes.storage)
    }

    /// Reads the settings, each as `{"value", "editable"}`. System administrators only.
    pub async fn configurations(&self) -> Result<Value> {
        self.wire.get(self.wire.api(["configurations"])).await
    }

    fn executions_url(&self, policy_id: i64) -> Url {
        let mut url = self.wire.api(["replication", "executions"]);
        url.query_pairs_mut()
            .append_pair("policy_id", &policy_id.to_string());
        url
    }

    fn artifacts_url(&self, project: &str, repository: &str, query: &ArtifactQuery) -> Url {
        let mut url = self.repository_url(project, repository, &["artifacts"]);
        add_query(&mut url, query);
        url
    }

    fn repository_url(&self, project: &str, repository: &str, rest: &[&str]) -> Url {
        repository_url(&self.wire, project, repository, rest)
    }
}

/// The URL of something in a repository. A slash in its name is encoded twice: that is the form of
/// Harbor's own links, and the one that survives a proxy in front.
pub(crate) fn repository_url(wire: &Wire, project: &str, repository: &str, rest: &[&str]) -> Url {
    let once = repository.replace('/', "%2F");
    let parts = ["projects", project, "repositories", &once];
    wire.api(parts.into_iter().chain(rest.iter().copied()))
}

fn add_query(url: &mut Url, query: &ArtifactQuery) {
    let mut pairs = url.query_pairs_mut();
    pairs.append_pair("with_tag", "true");
    if query.with_label {
        pairs.append_pair("with_label", "true");
    }
    if query.with_accessory {
        pairs.append_pair("with_accessory", "true");
    }
}

/// Returns a query for an exact value, unless Harbor's query language could read it in another way.
fn exact_query(key: &str, value: &str) -> Option<String> {
    let plain = !value.is_empty()
        && value
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.$+".contains(c));
    // Bare digits would be taken for a number.
    let quoted = value.parse::<f64>().is_ok();
    match (plain, quoted) {
        (true, false) => Some(format!("{key}={value}")),
        (true, true) => Some(format!("{key}='{value}'")),
        (false, _) => None,
    }
}

/// Whether `full` is `short` with a prefix such as `robot$`.
fn is_short_name_of(short: &str, full: &str) -> bool {
    full.strip_suffix(short).is_some_and(|prefix| {
        prefix
            .chars()
            .next_back()
            .is_none_or(|last| !last.is_ascii_alphanumeric())
            && !(prefix.ends_with(['-', '_', '.']) && prefix.contains('$'))
    })
}

/// Reads the time of a Date header.
fn http_date(text: &str) -> Option<Timestamp> {
    rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

/// The last `max_bytes` bytes, from the first line that begins in them.
fn tail(text: &[u8], max_bytes: usize) -> String {
    let from = text.len().saturating_sub(max_bytes);
    let mut end = &text[from..];
    if from > 0 && text[from - 1] != b'\n' {
        // A single line that is longer stays cut.
        if let Some(newline) = end
            .iter()
            .position(|byte| *byte == b'\n')
            .filter(|at| at + 1 < end.len())
        {
            end = &end[newline + 1..];
        }
    }
    String::from_utf8_lossy(end).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_of_robots() {
        for (short, full, same) in [
            ("dr-sync", "robot$dr-sync", true),
            ("dr-sync", "dr-sync", true),
            ("dr-sync", "bot-dr-sync", true),
            ("sync", "robot$dr-sync", false),
            ("sync", "robot$drsync", false),
            ("dr-sync", "robot$dr-sync-2", false),
        ] {
            assert_eq!(is_short_name_of(short, full), same, "{short} {full}");
        }
    }

    #[test]
    fn names_that_the_query_language_could_misread_are_not_put_into_it() {
        assert_eq!(
            exact_query("name", "pull-production"),
            Some("name=pull-production".into())
        );
        assert_eq!(exact_query("name", "123"), Some("name='123'".into()));
        assert_eq!(exact_query("name", "a,b"), None);
        assert_eq!(exact_query("name", "~a"), None);
        assert_eq!(exact_query("name", "two words"), None);
    }

    #[test]
    fn the_tail_of_a_log_begins_with_a_line() {
        assert_eq!(tail(b"one\ntwo\nthree\n", 100), "one\ntwo\nthree\n");
        assert_eq!(tail(b"one\ntwo\nthree\n", 9), "three\n");
        assert_eq!(tail(b"one\ntwo\nthree\n", 10), "two\nthree\n");
        assert_eq!(tail(b"a long line", 4), "line");
        assert_eq!(tail("\u{e9}\u{e9}".as_bytes(), 3), "\u{fffd}\u{e9}");
    }

    #[test]
    fn the_date_header_is_a_clock() {
        let date = http_date("Mon, 23 Nov 2026 17:31:57 GMT").map(|date| date.to_string());
        assert_eq!(date.as_deref(), Some("2026-11-23T17:31:57Z"));
    }
}
