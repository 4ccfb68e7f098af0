//! An HTTP server of a few lines, which answers exactly what a test says, broken answers included.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use runbook_harbor::{BeforeWrite, Endpoint, Reader, Writer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What a client sent.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// Path and query.
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// What it gets.
#[derive(Clone, Debug)]
pub enum Reply {
    Whole {
        status: u16,
        headers: Vec<(String, String)>,
        body: Vec<u8>,
    },
    /// These bytes and then the end of the connection.
    Raw(Vec<u8>),
    /// The end of the connection, after the request was read.
    Lost,
    /// Nothing, for ever.
    Hang,
}

pub struct Server {
    pub url: reqwest::Url,
    pub address: std::net::SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    pub fn path(&self) -> &str {
        self.target.split('?').next().expect("a path")
    }

    pub fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }
}

impl Reply {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Reply {
        Reply::Whole {
            status,
            headers: Vec::new(),
            body: body.into(),
        }
    }

    pub fn json(status: u16, body: serde_json::Value) -> Reply {
        Reply::new(status, body.to_string()).with("Content-Type", "application/json")
    }

    pub fn error(status: u16, code: &str, message: &str) -> Reply {
        Reply::json(
            status,
            serde_json::json!({ "errors": [{ "code": code, "message": message }] }),
        )
    }

    pub fn with(mut self, name: &str, value: impl Into<String>) -> Reply {
        if let Reply::Whole { headers, .. } = &mut self {
            headers.push((name.to_owned(), value.into()));
        }
        self
    }
}

impl Server {
    pub async fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, answer) = (Arc::clone(&requests), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                tokio::spawn(async move {
                    let mut stream = stream;
                    let Some(request) = read(&mut stream).await else {
                        return;
                    };
                    seen.lock().expect("no panic").push(request.clone());
                    write(stream, &request, answer(&request)).await;
                });
            }
        });
        let url = format!("http://{address}").parse().expect("a url");
        Server {
            url,
            address,
            requests,
        }
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("no panic").clone()
    }

    /// Method and path of all requests so far.
    pub fn calls(&self) -> Vec<String> {
        self.requests()
            .iter()
            .map(|request| format!("{} {}", request.method, request.path()))
            .collect()
    }

    pub fn endpoint(&self) -> Endpoint {
        endpoint(self.url.clone())
    }

    pub fn reader(&self) -> Reader {
        Reader::new(self.endpoint()).expect("a reader")
    }

    pub fn writer(&self) -> Writer {
        Writer::new(self.endpoint(), always()).expect("a writer")
    }
}

pub fn endpoint(url: reqwest::Url) -> Endpoint {
    // Once in a process; a second call changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Endpoint {
        site: "dr".into(),
        url,
        user: "admin".into(),
        password: format!("{:x}", std::process::id()).into(),
        timeout: Duration::from_secs(20),
        connect_to: None,
        ca_pem: None,
    }
}

/// Lets every write go.
pub fn always() -> BeforeWrite {
    Arc::new(|| Ok(()))
}

async fn read(stream: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return None,
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
        }
    };
    let head = String::from_utf8(bytes[..head_end].to_vec()).expect("a text head");
    let mut lines = head.split("\r\n");
    let mut first = lines.next().expect("a request line").split(' ');
    let method = first.next().expect("a method").to_owned();
    let target = first.next().expect("a target").to_owned();
    let headers: Vec<(String, String)> = lines
        .map(|line| line.split_once(": ").expect("a header"))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let mut request = Request {
        method,
        target,
        headers,
        body: bytes[head_end + 4..].to_vec(),
    };
    let length: usize = request
        .header("content-length")
        .map_or(0, |text| text.parse().expect("a length"));
    while request.body.len() < length {
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return None,
            Ok(count) => request.body.extend_from_slice(&buffer[..count]),
        }
    }
    Some(request)
}

async fn write(mut stream: TcpStream, request: &Request, reply: Reply) {
    let bytes = match reply {
        Reply::Lost => return,
        Reply::Hang => return std::future::pending().await,
        Reply::Raw(bytes) => bytes,
        Reply::Whole {
            status,
            headers,
            body,
        } => {
            let mut head = format!(
                "HTTP/1.1 {status} Status\r\nConnection: close\r\nSet-Cookie: sid=s1; Path=/\r\n"
            );
            if let Some(id) = request.header("x-request-id") {
                head += &format!("X-Request-Id: {id}\r\n");
            }
            for (name, value) in &headers {
                head += &format!("{name}: {value}\r\n");
            }
            if !headers
                .iter()
                .any(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            {
                head += &format!("Content-Length: {}\r\n", body.len());
            }
            head += "\r\n";
            let mut bytes = head.into_bytes();
            if request.method != "HEAD" {
                bytes.extend(body);
            }
            bytes
        }
    };
    // The client may be gone already.
    let _ = stream.write_all(&bytes).await;
    let _ = stream.shutdown().await;
}
