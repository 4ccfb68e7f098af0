//! Recorded exchanges, sent again and compared.

use std::{collections::HashMap, time::Duration};

use runbook_sim::{Contents, Harbor, Sandbox, SandboxOptions};
use serde_json::{Value, json};

use crate::shape::{mask, same_shape};

/// The addresses that the recordings used.
const RECORDED: [(&str, &str); 2] = [("primary", "127.0.0.1:18080"), ("dr", "127.0.0.1:19080")];
/// Kinds of ids, by how they stand in paths.
const KINDS: [&str; 6] = [
    "registries",
    "policies",
    "executions",
    "tasks",
    "robots",
    "projects",
];

/// What a replay does not compare.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Tolerate {
    /// `X-Total-Count`, `Link` and the length of lists: they depend on what else is there.
    Amount,
    /// The keys and types of the body.
    Body,
}

/// A recorded exchange.
#[derive(Clone)]
pub struct Exchange(pub Value);

/// What the sandbox answered.
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
}

/// A sandbox on which a recording is played again.
pub struct Stage {
    pub sandbox: Sandbox,
    client: reqwest::Client,
    /// Recorded ids to ours, by instance and kind.
    ids: HashMap<(String, String, i64), i64>,
    secrets: HashMap<(String, String), String>,
    /// Names of robots by our ids.
    robots: HashMap<(String, i64), String>,
}

/// Reads a recording, its polled series left out.
pub fn recording(name: &str) -> Vec<Exchange> {
    let path = format!(
        "{}/testdata/transcripts/{name}.jsonl",
        env!("CARGO_MANIFEST_DIR")
    );
    let text = std::fs::read_to_string(&path).expect("the recording is in the repository");
    let lines = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("a line of JSON"));
    lines
        .filter(|line| line["path"].is_string())
        .map(Exchange)
        .collect()
}

impl Exchange {
    pub fn note(&self) -> &str {
        self.0["note"].as_str().unwrap_or_default()
    }

    pub fn method(&self) -> &str {
        self.0["method"].as_str().unwrap_or_default()
    }

    pub fn path(&self) -> &str {
        self.0["path"].as_str().unwrap_or_default()
    }

    pub fn instance(&self) -> &str {
        self.0["instance"].as_str().unwrap_or_default()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.0["response_headers"][name].as_str()
    }

    fn wants_wrong_password(&self) -> bool {
        ["wrong password", "old secret"]
            .iter()
            .any(|part| self.note().contains(part))
    }
}

pub fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .timeout(Duration::from_secs(20))
        .build()
        .expect("a client")
}

impl Stage {
    /// Two bare sites whose waits run `scale` times faster.
    pub async fn bare(scale: f64) -> Stage {
        Stage::with(SandboxOptions {
            contents: Contents::Bare,
            time_scale: scale,
            ..SandboxOptions::default()
        })
        .await
    }

    pub async fn with(options: SandboxOptions) -> Stage {
        let sandbox = Sandbox::start(options).await.expect("a sandbox");
        Stage {
            sandbox,
            client: client(),
            ids: HashMap::new(),
            secrets: HashMap::new(),
            robots: HashMap::new(),
        }
    }

    pub fn harbor(&self, instance: &str) -> &Harbor {
        self.sandbox.site(instance).expect("a site")
    }

    /// Makes the project `production` and the images that the recordings speak of.
    pub async fn fill(&mut self) {
        for exchange in &recording("setup")[3..4] {
            self.replay(exchange, &[]).await;
        }
        let primary = self.harbor("primary");
        for (repository, tag) in [
            ("production/app", "v1.0.0"),
            ("production/app", "v1.2.3"),
            ("production/app", "dev-1"),
            ("production/app", "latest"),
            ("production/team/tool", "v1"),
            ("production/slow", "v2"),
        ] {
            primary.push_tag(repository, tag, tag).expect("a push");
        }
    }

    /// Makes the endpoint that the recordings know as number 8 of `dr`.
    pub async fn add_endpoint(&mut self) {
        let created = recording("registries")
            .into_iter()
            .find(|one| one.note() == "create")
            .expect("recorded");
        self.replay(&created, &[]).await;
    }

    /// Waits until something is so, for at most 20 s.
    pub async fn until(&self, what: &str, is: impl Fn(&Sandbox) -> bool) {
        for _ in 0..4000 {
            if is(&self.sandbox) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!(
            "it never came about: {what}; {:#?}",
            self.sandbox.snapshot().sites["dr"].executions
        );
    }

    /// Starts a run and gives its id.
    pub async fn start(&self, instance: &str, policy: i64) -> i64 {
        let path = "/api/v2.0/replication/executions";
        let answer = self
            .ask(instance, "POST", path, Some(json!({ "policy_id": policy })))
            .await;
        assert_eq!((answer.status, &answer.body), (201, &json!("")));
        let location = answer
            .header("location")
            .expect("the id is in Location only")
            .to_owned();
        id_after(&location, "executions").expect("an id")
    }

    /// An execution as the API shows it.
    pub async fn execution(&self, instance: &str, id: i64) -> Value {
        self.ask(
            instance,
            "GET",
            &format!("/api/v2.0/replication/executions/{id}"),
            None,
        )
        .await
        .body
    }

    /// Waits until an execution is so, and gives it.
    pub async fn execution_when(
        &self,
        instance: &str,
        id: i64,
        is: impl Fn(&Value) -> bool,
    ) -> Value {
        for _ in 0..4000 {
            let execution = self.execution(instance, id).await;
            if is(&execution) {
                return execution;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!(
            "it never came about: {}",
            self.execution(instance, id).await
        );
    }

    /// Sends any request as the administrator.
    pub async fn ask(
        &self,
        instance: &str,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> Answer {
        let harbor = self.harbor(instance);
        let method = method.parse().expect("a method");
        let mut request = self
            .client
            .request(method, format!("{}{path}", harbor.url()))
            .basic_auth("admin", Some(harbor.admin_password()));
        if let Some(body) = body {
            request = request.json(&body);
        }
        Answer::read(request.send().await.expect("an answer")).await
    }

    /// Sends a recorded request again and compares the answer with the recorded one.
    pub async fn replay(&mut self, exchange: &Exchange, tolerate: &[Tolerate]) -> Answer {
        let answer = self.send(exchange).await;
        self.learn(exchange, &answer);
        self.compare(exchange, &answer, tolerate);
        answer
    }

    /// Replays until the answer satisfies `is`, then compares that one.
    pub async fn replay_when(
        &mut self,
        exchange: &Exchange,
        tolerate: &[Tolerate],
        is: impl Fn(&Value) -> bool,
    ) {
        for _ in 0..2000 {
            let answer = self.send(exchange).await;
            if is(&answer.body) {
                self.compare(exchange, &answer, tolerate);
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("the situation of `{}` did not come about", exchange.note());
    }

    async fn send(&self, exchange: &Exchange) -> Answer {
        let harbor = self.harbor(exchange.instance());
        let path = self.our_ids(exchange.instance(), exchange.path());
        let method = exchange.method().parse().expect("a method");
        let mut request = self
            .client
            .request(method, format!("{}{path}", harbor.url()));
        // Where nothing was noted, the administrator asked.
        let auth = exchange.0["auth"].as_str().unwrap_or("basic admin");
        if let Some(user) = auth.strip_prefix("basic ") {
            let secret = if exchange.wants_wrong_password() {
                "wrong".to_owned()
            } else if user == "admin" {
                harbor.admin_password().to_owned()
            } else {
                self.secrets
                    .get(&(exchange.instance().to_owned(), user.to_owned()))
                    .cloned()
                    .unwrap_or_default()
            };
            request = request.basic_auth(user, Some(secret));
        }
        for (name, value) in exchange.0["request_headers"]
            .as_object()
            .into_iter()
            .flatten()
        {
            request = request.header(name, value.as_str().unwrap_or_default());
        }
        if let Some(raw) = exchange.0["request_body_raw"].as_str() {
            request = request.body(raw.to_owned());
        } else if !exchange.0["request_body"].is_null() {
            request = request.json(&self.our_body(exchange));
        }
        Answer::read(request.send().await.expect("an answer")).await
    }

    fn our_body(&self, exchange: &Exchange) -> Value {
        let text = self.our_addresses(&exchange.0["request_body"].to_string());
        let mut body: Value = serde_json::from_str(&text).expect("JSON");
        let instance = exchange.instance();
        for side in ["src_registry", "dest_registry"] {
            if let Some(id) = body[side]["id"].as_i64() {
                body[side]["id"] = json!(self.our_id(instance, "registries", id));
            }
        }
        if let Some(id) = body["policy_id"].as_i64() {
            body["policy_id"] = json!(self.our_id(instance, "policies", id));
        }
        if exchange.path().ends_with("/registries/ping")
            && let Some(id) = body["id"].as_i64()
        {
            body["id"] = json!(self.our_id(instance, "registries", id));
        }
        let other = if instance == "dr" { "primary" } else { "dr" };
        let credential = if body["credential"].is_object() {
            &mut body["credential"]
        } else {
            &mut body
        };
        if credential["access_secret"] == "<secret>" {
            let key = credential["access_key"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            let secret = match key.as_str() {
                "admin" => self.harbor(other).admin_password().to_owned(),
                robot => self
                    .secrets
                    .get(&(other.to_owned(), robot.to_owned()))
                    .cloned()
                    .unwrap_or_default(),
            };
            credential["access_secret"] = json!(secret);
        }
        body
    }

    /// Remembers the ids and secrets of what was made.
    fn learn(&mut self, exchange: &Exchange, answer: &Answer) {
        let instance = exchange.instance().to_owned();
        if let (Some(theirs), Some(ours)) = (exchange.header("Location"), answer.header("location"))
        {
            for kind in KINDS {
                if let (Some(theirs), Some(ours)) = (id_after(theirs, kind), id_after(ours, kind)) {
                    self.ids
                        .insert((instance.clone(), kind.to_owned(), theirs), ours);
                }
            }
        }
        if let (Some(name), Some(secret)) =
            (answer.body["name"].as_str(), answer.body["secret"].as_str())
        {
            self.secrets
                .insert((instance.clone(), name.to_owned()), secret.to_owned());
            self.robots.insert(
                (instance.clone(), answer.body["id"].as_i64().unwrap_or(0)),
                name.to_owned(),
            );
        }
        if let (Some(theirs), Some(secret)) = (
            id_after(exchange.path(), "robots"),
            answer.body["secret"].as_str(),
        ) {
            let id = self.our_id(&instance, "robots", theirs);
            if let Some(name) = self.robots.get(&(instance.clone(), id)) {
                self.secrets
                    .insert((instance.clone(), name.clone()), secret.to_owned());
            }
        }
        if exchange.path().ends_with("/tasks") {
            let both = exchange.0["response_body"]
                .as_array()
                .zip(answer.body.as_array());
            for (theirs, ours) in both
                .into_iter()
                .flat_map(|(theirs, ours)| theirs.iter().zip(ours))
            {
                if let (Some(theirs), Some(ours)) = (theirs["id"].as_i64(), ours["id"].as_i64()) {
                    self.ids
                        .insert((instance.clone(), "tasks".to_owned(), theirs), ours);
                }
            }
        }
        // An ordinary user's password was not recorded.
        if exchange.path().ends_with("/users")
            && let Some(name) = exchange.0["request_body"]["username"].as_str()
        {
            self.secrets
                .insert((instance, name.to_owned()), "<secret>".to_owned());
        }
    }

    fn compare(&self, exchange: &Exchange, answer: &Answer, tolerate: &[Tolerate]) {
        let told = format!(
            "{} {} ({})",
            exchange.method(),
            exchange.path(),
            exchange.note()
        );
        assert_eq!(
            Some(u64::from(answer.status)),
            exchange.0["status"].as_u64(),
            "status of {told}: {}",
            answer.body
        );
        let amount = !tolerate.contains(&Tolerate::Amount);
        if exchange.0["response_headers"].is_null() {
            // Some exchanges were recorded without their headers.
            same_shape(&exchange.0["response_body"], &answer.body, amount, &told);
            return;
        }
        for name in [
            "Content-Type",
            "Location",
            "Www-Authenticate",
            "Docker-Distribution-Api-Version",
            "Range",
            "Link",
            "X-Total-Count",
        ] {
            if matches!(name, "Link" | "X-Total-Count") && !amount {
                continue;
            }
            // HEAD, 502 and forgery refusals were recorded with and without a type: as the layer that refused had it.
            let is_bare = exchange.0["response_headers"]["Content-Type"].is_null();
            if name == "Content-Type" && (is_bare || exchange.method() == "HEAD") {
                continue;
            }
            let theirs = exchange
                .header(name)
                .map(|text| mask(&self.our_addresses(text)));
            assert_eq!(answer.header(name).map(mask), theirs, "{name} of {told}");
        }
        for name in ["Docker-Content-Digest", "Docker-Upload-Uuid"] {
            assert_eq!(
                answer.header(name).is_some(),
                exchange.header(name).is_some(),
                "{name} of {told}"
            );
        }
        assert!(
            answer.header("x-request-id").is_some(),
            "a request id of {told}"
        );
        assert!(
            answer
                .header("set-cookie")
                .is_some_and(|cookie| cookie.starts_with("sid=")),
            "the cookie of {told}"
        );
        if !tolerate.contains(&Tolerate::Body) && exchange.method() != "HEAD" {
            same_shape(&exchange.0["response_body"], &answer.body, amount, &told);
        }
    }

    fn our_addresses(&self, text: &str) -> String {
        RECORDED
            .iter()
            .fold(text.to_owned(), |text, (name, theirs)| {
                text.replace(theirs, &self.harbor(name).address().to_string())
            })
    }

    fn our_ids(&self, instance: &str, path: &str) -> String {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let mut parts: Vec<String> = path.split('/').map(str::to_owned).collect();
        for at in 1..parts.len() {
            let kind = parts[at - 1].clone();
            if let Some(id) = parts[at]
                .parse()
                .ok()
                .filter(|_| KINDS.contains(&kind.as_str()))
            {
                parts[at] = self.our_id(instance, &kind, id).to_string();
            }
        }
        let query: Vec<String> = query
            .split('&')
            .map(|pair| {
                match pair
                    .strip_prefix("policy_id=")
                    .and_then(|id| id.parse().ok())
                {
                    Some(id) => format!("policy_id={}", self.our_id(instance, "policies", id)),
                    None => pair.to_owned(),
                }
            })
            .collect();
        let query = query.join("&");
        if query.is_empty() {
            parts.join("/")
        } else {
            format!("{}?{query}", parts.join("/"))
        }
    }

    fn our_id(&self, instance: &str, kind: &str, theirs: i64) -> i64 {
        self.ids
            .get(&(instance.to_owned(), kind.to_owned(), theirs))
            .copied()
            .unwrap_or(theirs)
    }
}

impl Answer {
    async fn read(response: reqwest::Response) -> Answer {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.expect("a body");
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Answer {
            status,
            headers,
            body,
        }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

fn id_after(path: &str, kind: &str) -> Option<i64> {
    let (_, rest) = path.split_once(&format!("/{kind}/"))?;
    rest.split('/').next()?.parse().ok()
}
