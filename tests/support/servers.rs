//! Real servers for tests: BIND 9 and moto, each on its own loopback port, in its own folder, killed on
//! drop. Included by `#[path]`, so it uses the standard library alone.
//!
//! A missing server is a failure, never a skip: `make deps` installs both.

#![allow(dead_code)] // each test binary uses its part

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long a server may take to come up. moto needs 4 s on an idle machine.
const START: Duration = Duration::from_secs(120);

/// The TSIG key that may update everything that a [`Bind`] was told to allow.
pub const KEY: &str = "dr-key";
/// A TSIG key that the server knows and that may update another name only.
pub const NARROW_KEY: &str = "narrow-key";

/// A running BIND 9 primary of one zone.
pub struct Bind {
    /// Where it listens, UDP and TCP.
    pub address: SocketAddr,
    /// The zone's name, without the trailing dot.
    pub zone: String,
    /// The secret of [`KEY`], base64.
    pub secret: String,
    /// The secret of [`NARROW_KEY`], base64.
    pub narrow_secret: String,
    process: Process,
}

impl Bind {
    /// Starts `named` for `zone`. `records` are lines of a zone file below the SOA, such as
    /// `harbor 60 IN CNAME ams`; [`KEY`] may update `names` (relative to the zone) and their markers.
    pub fn start(zone: &str, records: &[&str], names: &[&str]) -> Bind {
        // The port was free when it was chosen. Should someone have been quicker, `named` runs without listening.
        let mut attempts = (0..5).filter_map(|_| Bind::try_start(zone, records, names));
        attempts
            .next()
            .expect("named finds a free port in five attempts")
    }

    fn try_start(zone: &str, records: &[&str], names: &[&str]) -> Option<Bind> {
        let named = find("named", &["/usr/sbin", "/usr/local/sbin", "/sbin"]);
        let folder = Folder::new("bind");
        let dir = folder.path();
        // `named` listens on addresses that an interface has, and of all loopback addresses that is this one.
        let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), free_port());
        let (secret, narrow_secret) = (random_secret(), random_secret());
        let ip = address.ip();
        let mut text = format!(
            "$ORIGIN {zone}.\n$TTL 300\n@ IN SOA ns1 hostmaster 1 3600 600 86400 30\n@ IN NS ns1\nns1 IN A {ip}\n"
        );
        for record in records {
            text.push_str(record);
            text.push('\n');
        }
        write(&dir.join("zone"), &text);
        let grants: String = names
            .iter()
            .map(|name| {
                format!("grant {KEY} name {name}.{zone}. CNAME A AAAA TXT;\n  grant {KEY} name _dr-owner.{name}.{zone}. TXT;\n  ")
            })
            .collect();
        let (d, port) = (dir.display(), address.port());
        let config = format!(
            "key \"{KEY}\" {{ algorithm hmac-sha256; secret \"{secret}\"; }};
key \"{NARROW_KEY}\" {{ algorithm hmac-sha256; secret \"{narrow_secret}\"; }};
options {{ directory \"{d}\"; pid-file \"{d}/pid\"; session-keyfile \"{d}/session.key\";
  managed-keys-directory \"{d}\"; listen-on port {port} {{ {ip}; }}; listen-on-v6 {{ none; }};
  recursion no; dnssec-validation no; allow-transfer {{ none; }}; notify no; }};
controls {{ }};
zone \"{zone}\" {{ type primary; file \"zone\"; update-policy {{
  {grants}grant {NARROW_KEY} name elsewhere.{zone}. TXT; }}; }};
"
        );
        write(&dir.join("named.conf"), &config);
        let mut command = Command::new(named);
        command
            .args(["-g", "-n", "1", "-c"])
            .arg(dir.join("named.conf"));
        let mut process = Process::start("named", command, folder);
        let log = process.wait_for(|log| log.lines().any(|line| line.ends_with(" running")));
        let listens = log.contains(&format!("listening on IPv4 interface lo, {ip}#{port}"))
            && !log.contains("in use");
        listens.then(|| Bind {
            address,
            zone: zone.to_owned(),
            secret,
            narrow_secret,
            process,
        })
    }

    /// Edits the zone as someone else would, with `nsupdate`: `commands` such as `update delete h.example.test CNAME`.
    pub fn edit(&self, commands: &str) {
        let mut child = Command::new(find("nsupdate", &[]))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("nsupdate starts");
        let (ip, port) = (self.address.ip(), self.address.port());
        let script = format!(
            "server {ip} {port}\nzone {}\nkey hmac-sha256:{KEY} {}\n{commands}\nsend\n",
            self.zone, self.secret
        );
        let mut input = child.stdin.take().expect("its input is piped");
        input.write_all(script.as_bytes()).expect("nsupdate reads");
        drop(input);
        let output = child.wait_with_output().expect("nsupdate ends");
        assert!(
            output.status.success(),
            "nsupdate: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// Stops the server now.
    pub fn stop(mut self) {
        self.process.kill();
    }
}

/// A running moto server.
pub struct Moto {
    /// Its endpoint, such as `http://127.0.0.1:5000`.
    pub url: String,
    process: Process,
}

/// A pair of credentials that moto's IAM knows.
#[derive(Clone, Debug)]
pub struct AccessKey {
    /// The access key id.
    pub id: String,
    /// The secret access key.
    pub secret: String,
}

impl Moto {
    /// Starts moto with the corrections of `strict_moto.py`, which says what they are.
    pub fn start() -> Moto {
        Moto::serve(true)
    }

    /// Starts moto as shipped.
    pub fn start_as_shipped() -> Moto {
        Moto::serve(false)
    }

    fn serve(strict: bool) -> Moto {
        let root = root();
        let port = free_port();
        let mut command = if strict {
            let mut command = Command::new(python(&root));
            command.arg(root.join("tests/support/strict_moto.py"));
            command
        } else {
            let own = root.join(".venv/bin/moto_server");
            Command::new(if own.exists() {
                own
            } else {
                find("moto_server", &[])
            })
        };
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        let mut process = Process::start("moto", command, Folder::new("moto"));
        let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
        process.wait_for(|_| TcpStream::connect(address).is_ok());
        Moto {
            url: format!("http://{address}"),
            process,
        }
    }

    /// Creates a hosted zone and returns its id.
    pub fn create_zone(&self, name: &str) -> String {
        let reference = random_secret();
        let body = format!(
            "<CreateHostedZoneRequest xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><Name>{name}.</Name>\
             <CallerReference>{reference}</CallerReference></CreateHostedZoneRequest>"
        );
        let (status, answer) = self.request("POST", "/2013-04-01/hostedzone", "route53", &body);
        assert_eq!(status, 201, "{answer}");
        let id = between(&answer, "<Id>", "</Id>").expect("a created zone has an id");
        id.trim_start_matches("/hostedzone/").to_owned()
    }

    /// Puts a record set as someone else would: whatever stood there is replaced. `value` as stored (TXT in quotes).
    pub fn put(&self, zone: &str, name: &str, kind: &str, ttl: u32, value: &str) {
        self.change("UPSERT", zone, name, kind, ttl, value);
    }

    /// Removes a record set as someone else would. TTL and value must match.
    pub fn remove(&self, zone: &str, name: &str, kind: &str, ttl: u32, value: &str) {
        self.change("DELETE", zone, name, kind, ttl, value);
    }

    fn change(&self, action: &str, zone: &str, name: &str, kind: &str, ttl: u32, value: &str) {
        let value = value.replace('&', "&amp;").replace('<', "&lt;");
        let body = format!(
            "<ChangeResourceRecordSetsRequest xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><ChangeBatch><Changes>\
             <Change><Action>{action}</Action><ResourceRecordSet><Name>{name}.</Name><Type>{kind}</Type><TTL>{ttl}</TTL>\
             <ResourceRecords><ResourceRecord><Value>{value}</Value></ResourceRecord></ResourceRecords>\
             </ResourceRecordSet></Change></Changes></ChangeBatch></ChangeResourceRecordSetsRequest>"
        );
        let (status, answer) = self.request(
            "POST",
            &format!("/2013-04-01/hostedzone/{zone}/rrset/"),
            "route53",
            &body,
        );
        assert_eq!(status, 200, "{answer}");
    }

    /// Reads a record set as someone else would: TTL and first value, without the trailing dot.
    pub fn record(&self, zone: &str, name: &str, kind: &str) -> Option<(u32, String)> {
        let path = format!("/2013-04-01/hostedzone/{zone}/rrset");
        let (status, answer) = self.request("GET", &path, "route53", "");
        assert_eq!(status, 200, "{answer}");
        let set = answer.split("<ResourceRecordSet>").find(|set| {
            set.contains(&format!("<Name>{name}.</Name>"))
                && set.contains(&format!("<Type>{kind}</Type>"))
        })?;
        let ttl = between(set, "<TTL>", "</TTL>")?.parse().ok()?;
        let value = between(set, "<Value>", "</Value>")?;
        Some((ttl, value.trim_end_matches('.').to_owned()))
    }

    /// Makes an IAM user with a key. `actions`: what it may do; empty: nothing.
    pub fn create_user(&self, name: &str, actions: &[&str]) -> AccessKey {
        let iam = |form: String| {
            let (status, answer) = self.request("POST", "/", "iam", &form);
            assert_eq!(status, 200, "{answer}");
            answer
        };
        iam(format!(
            "Action=CreateUser&Version=2010-05-08&UserName={name}"
        ));
        if !actions.is_empty() {
            let list: Vec<String> = actions
                .iter()
                .map(|a| format!("%22{}%22", a.replace(':', "%3A")))
                .collect();
            let document = format!(
                "%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%5B%7B%22Effect%22%3A%22Allow%22%2C%22Action%22%3A%5B{}%5D%2C%22Resource%22%3A%22%2A%22%7D%5D%7D",
                list.join("%2C")
            );
            iam(format!(
                "Action=PutUserPolicy&Version=2010-05-08&UserName={name}&PolicyName=p&PolicyDocument={document}"
            ));
        }
        let answer = iam(format!(
            "Action=CreateAccessKey&Version=2010-05-08&UserName={name}"
        ));
        let part = |tag: &str| {
            between(&answer, &format!("<{tag}>"), &format!("</{tag}>"))
                .expect("a key has both parts")
        };
        AccessKey {
            id: part("AccessKeyId").to_owned(),
            secret: part("SecretAccessKey").to_owned(),
        }
    }

    /// From now on signatures and rights are judged.
    pub fn judge_rights(&self) {
        let (status, answer) = self.request("POST", "/moto-api/reset-auth", "route53", "0");
        assert_eq!(status, 200, "{answer}");
    }

    /// From now on nobody is asked for rights.
    pub fn trust_all(&self) {
        let (status, answer) =
            self.request("POST", "/moto-api/reset-auth", "route53", "1000000000");
        assert_eq!(status, 200, "{answer}");
    }

    /// One unsigned request; moto looks at the scope to find the service.
    fn request(&self, method: &str, path: &str, service: &str, body: &str) -> (u16, String) {
        let host = self.url.trim_start_matches("http://");
        let mut stream = TcpStream::connect(host).expect("moto takes connections");
        stream
            .set_read_timeout(Some(START))
            .expect("a limit can be set");
        let kind = if service == "iam" {
            "application/x-www-form-urlencoded"
        } else {
            "text/xml"
        };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=0\r\n\r\n",
            body.len()
        );
        stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.write_all(body.as_bytes()))
            .expect("moto reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("moto answers");
        let status = answer
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .expect("a status line");
        let body = answer
            .split_once("\r\n\r\n")
            .map_or("", |(_, body)| body)
            .to_owned();
        (status, body)
    }
}

/// A server's process and its folder. Killed by its id and removed on drop.
struct Process {
    name: &'static str,
    child: Child,
    folder: Folder,
}

impl Process {
    fn start(name: &'static str, mut command: Command, folder: Folder) -> Process {
        let log = File::create(folder.path().join("log")).expect("the log can be written");
        let twin = log.try_clone().expect("the log can be written twice");
        command
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(twin)
            .current_dir(folder.path());
        let child = command
            .spawn()
            .unwrap_or_else(|e| panic!("{name} does not start ({e}): run `make deps`"));
        Process {
            name,
            child,
            folder,
        }
    }

    /// Waits until the log, or something else, says that the server is up. Returns the log.
    fn wait_for(&mut self, ready: impl Fn(&str) -> bool) -> String {
        let started = Instant::now();
        loop {
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            if ready(&log) {
                return log;
            }
            let ended = self.child.try_wait().expect("the process can be asked");
            assert!(
                ended.is_none(),
                "{} ended with {ended:?}; if it is not installed run `make deps`\n{log}",
                self.name
            );
            assert!(
                started.elapsed() < START,
                "{} is not up after {START:?}\n{log}",
                self.name
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn kill(&mut self) {
        // Already gone is gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

struct Folder(PathBuf);

impl Folder {
    fn new(what: &str) -> Folder {
        let path =
            std::env::temp_dir().join(format!("runbook-{what}-{}-{}", std::process::id(), next()));
        fs::create_dir_all(&path).expect("a temporary folder can be made");
        Folder(path)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn next() -> u32 {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    COUNTER.fetch_add(1, Ordering::Relaxed)
}

/// A port that is free for TCP and UDP.
fn free_port() -> u16 {
    loop {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let address = tcp.local_addr().expect("a bound socket has an address");
        if UdpSocket::bind(address).is_ok() {
            return address.port();
        }
    }
}

/// 32 random bytes as 64 hexadecimal digits, which are valid base64 as well.
fn random_secret() -> String {
    let mut bytes = [0; 32];
    let mut source = File::open("/dev/urandom").expect("there is a source of chance");
    source.read_exact(&mut bytes).expect("chance can be read");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|e| panic!("{} cannot be written: {e}", path.display()));
}

fn find(program: &str, more: &[&str]) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(more.iter().map(PathBuf::from));
    let mut candidates = folders.map(|folder| folder.join(program));
    candidates
        .find(|p| p.is_file())
        .unwrap_or_else(|| panic!("`{program}` is not installed: run `make deps`"))
}

fn python(root: &Path) -> PathBuf {
    let own = root.join(".venv/bin/python");
    if own.exists() {
        return own;
    }
    let python = find("python3", &[]);
    let has_moto = Command::new(&python)
        .args(["-c", "import moto.server"])
        .stderr(Stdio::null())
        .status();
    assert!(
        has_moto.is_ok_and(|status| status.success()),
        "moto is not installed: run `make deps`"
    );
    python
}

/// The workspace's root, from whichever crate includes this file.
fn root() -> PathBuf {
    let start = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = start.ancestors();
    let found = folders.find(|folder| folder.join("tests/support/strict_moto.py").is_file());
    found
        .expect("the test runs inside the workspace")
        .to_owned()
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(start)?;
    rest.split_once(end).map(|(inside, _)| inside)
}
